//! The page and the HTTP API of a process, and the control files by which its nodes are found.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use rumormill::proto::PeerId;
use rumormill_http::{
    Access, ControlFile, ControlFileGuard, Director, Handle, RunDir, ServeError, Server, Token,
};
use rumormill_terminal::exit::{Exit, Failure, Outcome};
use rumormill_terminal::out;

/// The control API of this process, and the control files of its nodes.
#[derive(Debug)]
pub struct Control {
    server: Server,
    run_dir: RunDir,
    guards: BTreeMap<String, ControlFileGuard>,
}

/// The address of the page and the HTTP API, and the token that opens them.
#[derive(Debug, Clone, Default, Args)]
pub struct HttpArgs {
    /// Address of the page that shows the network, and of the HTTP API. On loopback every user of
    /// this machine may look, and a user with the token may change things; other addresses need
    /// --http-token-file [default: loopback, a port that the system chooses, all with a token]
    #[arg(long, value_name = "IP:PORT", help_heading = "Page and HTTP API")]
    http: Option<SocketAddr>,
    /// File with the token that opens the page and the API: 32 hexadecimal digits or more
    #[arg(long, value_name = "FILE", help_heading = "Page and HTTP API")]
    http_token_file: Option<PathBuf>,
}

impl HttpArgs {
    /// Reports what is wrong with the arguments before anything is served.
    ///
    /// # Errors
    /// The token cannot be read, or an address off the loopback interface has none.
    pub fn check(&self) -> Outcome<()> {
        let token = self.http_token_file.as_deref().map(read_token).transpose()?;
        match self.http {
            Some(address) if token.is_none() && !address.ip().is_loopback() => {
                Err(serve_failure(&ServeError::NotLoopback(address)))
            }
            _ => Ok(()),
        }
    }

    async fn serve(&self) -> Outcome<Server> {
        let token = self.http_token_file.as_deref().map(read_token).transpose()?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (address, access) = match (self.http, token) {
            (Some(address), None) => (address, Access::LocalReaders),
            (address, token) => (address.unwrap_or(loopback), Access::Token(token)),
        };
        Server::start_at(address, access).await.map_err(|e| serve_failure(&e))
    }
}

fn serve_failure(e: &ServeError) -> Failure {
    let (exit, hint) = match e {
        ServeError::NotLoopback(_) => (Exit::Config, " (--http-token-file)"),
        ServeError::Bind { .. } => (Exit::Bind, "; choose another address with --http"),
        ServeError::Randomness(_) => (Exit::Failed, ""),
    };
    Failure::new(exit, format!("{e}{hint}"))
}

fn read_token(path: &Path) -> Outcome<Token> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        let message = format!("cannot read the token in {}: {e}", path.display());
        Failure::new(Exit::Config, message)
    })?;
    Token::parse(text.trim()).ok_or_else(|| {
        let message = format!(
            "{} holds no token: it takes 32 to 256 hexadecimal digits, such as `openssl rand -hex 32` \
             prints",
            path.display()
        );
        Failure::new(Exit::Config, message)
    })
}

impl Control {
    /// Starts the server, without nodes.
    ///
    /// # Errors
    /// The token cannot be read, or the address cannot be listened on.
    pub async fn start(run_dir: Option<&Path>, http: &HttpArgs) -> Outcome<Self> {
        let server = http.serve().await?;
        Ok(Control { server, run_dir: RunDir::locate(run_dir), guards: BTreeMap::new() })
    }

    /// The address of the page, with the token that lets it change things.
    pub fn page(&self) -> String {
        self.server.page_url()
    }

    /// Sets the director, which carries out the requests of the page.
    pub fn direct(&self, director: Box<dyn Director>) {
        self.server.direct(director);
    }

    /// Serves a node, and gives its control file. Without that file on the disk the node works all
    /// the same, so a run directory that cannot be written to costs a warning only.
    pub fn add(&mut self, name: &str, handle: impl Into<Handle>) -> ControlFile {
        let file = self.server.add(name, handle);
        match self.run_dir.announce(&file) {
            Ok(guard) => {
                self.guards.insert(file.id.clone(), guard);
            }
            Err(e) => {
                out::say(format!("warning: other commands cannot control {name}: {e}"));
            }
        }
        file
    }

    /// Serves a node that has ended no more, and removes its control file.
    pub fn remove(&mut self, id: PeerId) {
        self.guards.remove(&id.to_hex());
        self.server.remove(id);
    }

    /// Removes the control files and ends the server.
    pub async fn end(mut self) {
        self.guards.clear();
        self.server.shutdown().await;
    }
}
