//! NATS: one server in a process of its own, and a client for each node.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::{Publisher, Setup, System, SystemKind, TOPIC};
use crate::process::{find_program, other_program};
use crate::scoreboard::Sink;

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How often that is checked.
const START_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes that a payload limit leaves for the rest of a message.
const MESSAGE_OVERHEAD: usize = 1024;
/// The default payload limit of the server.
const DEFAULT_MAX_PAYLOAD: usize = 1024 * 1024;

/// The server, and the clients in this process.
pub(crate) struct Nats {
    server: Child,
    clients: Vec<Client>,
    /// Bytes that the clients have sent: the client library counts some of its own twice.
    published: Arc<AtomicU64>,
}

/// The file in which the server names its ports.
#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
}

/// Makes a self-signed certificate for the loopback address, and the server's configuration.
/// Returns the paths of the certificate and of the configuration.
fn write_files(directory: &Path, payload: usize) -> Result<(PathBuf, PathBuf)> {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
        .context("cannot make a certificate for the NATS server")?;
    let path = |name: &str| directory.join(name);
    let write = |path: &Path, text: String| {
        let written = std::fs::write(path, text);
        written.with_context(|| format!("cannot write {} for the NATS server", path.display()))
    };
    let (certificate, key, config) = (path("certificate.pem"), path("key.pem"), path("nats.conf"));
    write(&certificate, certified.cert.pem())?;
    write(&key, certified.signing_key.serialize_pem())?;
    let quoted = |path: &Path| serde_json::to_string(&path.display().to_string());
    let text = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: {}\nmax_payload: {}\n\
         tls {{ cert_file: {}, key_file: {} }}\n",
        quoted(directory)?,
        (payload + MESSAGE_OVERHEAD).max(DEFAULT_MAX_PAYLOAD),
        quoted(&certificate)?,
        quoted(&key)?,
    );
    write(&config, text)?;
    Ok((certificate, config))
}

/// The address in the ports file, once the server has written it.
fn read_ports(directory: &Path) -> Option<String> {
    let files = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let mut ports = files.filter(|f| f.path().extension().is_some_and(|e| e == "ports"));
    let text = std::fs::read_to_string(ports.next()?.path()).ok()?;
    let file: PortsFile = serde_json::from_str(&text).ok()?;
    let (_, address) = file.nats.first()?.split_once("://")?;
    Some(address.to_owned())
}

/// Starts the server, and gives its address.
async fn start_server(config: &Path, directory: &Path) -> Result<(Child, String)> {
    let Some((program, package)) = SystemKind::Nats.program() else { bail!("NATS has no program") };
    let Some(program) = find_program(program) else {
        bail!("{program} is not installed: apt-get install {package}");
    };
    let mut command = other_program(program)?;
    command.arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = command.spawn().context("cannot run nats-server")?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(address) = read_ports(directory) {
            return Ok((server, address));
        }
        if let Some(status) = server.try_wait()? {
            bail!("nats-server ended at once ({status}); run it with the options of this program");
        }
        if Instant::now() >= deadline {
            bail!("nats-server does not listen after {} s", START_TIMEOUT.as_secs());
        }
        sleep(START_CHECK_INTERVAL).await;
    }
}

impl System for Nats {
    type Publisher = NatsPublisher;

    async fn start(setup: &Setup, sinks: Vec<Sink>) -> Result<Self> {
        let (certificate, config) = write_files(&setup.scratch, setup.payload)?;
        let (server, address) = start_server(&config, &setup.scratch).await?;
        let mut clients = Vec::new();
        for sink in sinks {
            let options = ConnectOptions::new()
                .add_root_certificates(certificate.clone())
                .require_tls(true)
                .no_echo();
            let client = options
                .connect(format!("tls://{address}"))
                .await
                .with_context(|| format!("cannot connect to nats-server at {address}"))?;
            let mut messages = client.subscribe(TOPIC).await.context("cannot subscribe at NATS")?;
            // The server has handled the subscription when it answers.
            client.flush().await.context("nats-server does not answer")?;
            tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    sink.deliver(&message.payload);
                }
            });
            clients.push(client);
        }
        Ok(Nats { server, clients, published: Arc::default() })
    }

    async fn wait_until_ready(&self) -> Result<()> {
        for client in &self.clients {
            client.flush().await.context("nats-server does not answer")?;
        }
        Ok(())
    }

    fn publisher(&self, node: usize) -> Option<NatsPublisher> {
        let client = self.clients.get(node)?.clone();
        Some(NatsPublisher { client, published: self.published.clone() })
    }

    /// What clients have sent, and what they have received from the server.
    async fn bytes_sent(&self) -> Result<Option<u64>> {
        let received = |c: &Client| c.statistics().in_bytes.load(Relaxed);
        let received: u64 = self.clients.iter().map(received).sum();
        Ok(Some(received + self.published.load(Relaxed)))
    }

    fn server_pid(&self) -> Option<u32> {
        self.server.id()
    }

    async fn stop(mut self) {
        drop(self.clients);
        // A server that cannot be killed has ended already.
        let _ = self.server.kill().await;
    }
}

/// Publishes at one client.
#[derive(Clone)]
pub(crate) struct NatsPublisher {
    client: Client,
    published: Arc<AtomicU64>,
}

/// Bytes of a PUB line and its payload.
fn publish_bytes(payload: usize) -> u64 {
    ("PUB ".len() + TOPIC.len() + format!(" {payload}\r\n\r\n").len() + payload) as u64
}

impl Publisher for NatsPublisher {
    async fn publish(&self, payload: Vec<u8>) -> Result<()> {
        self.published.fetch_add(publish_bytes(payload.len()), Relaxed);
        let sent = self.client.publish(TOPIC, payload.into()).await;
        sent.map_err(|e| anyhow!("the NATS client refused a message: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_the_ports_file() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_ports(directory.path()), None);
        let file = directory.path().join("nats-server_7.ports");
        std::fs::write(&file, r#"{"nats":["tls://127.0.0.1:4"#).unwrap();
        assert_eq!(read_ports(directory.path()), None, "the file is not complete yet");
        std::fs::write(&file, r#"{"nats":["tls://127.0.0.1:4222"]}"#).unwrap();
        assert_eq!(read_ports(directory.path()).unwrap(), "127.0.0.1:4222");
    }

    #[test]
    fn published_bytes_are_those_of_the_protocol() {
        assert_eq!(publish_bytes(5), "PUB compare 5\r\nhello\r\n".len() as u64);
    }
}
