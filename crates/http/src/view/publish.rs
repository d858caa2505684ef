//! The request to publish a message.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

use super::lines::Content;

/// `POST /v1/nodes/{node}/publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RawPublish")]
pub struct Publish {
    /// The topic.
    #[serde(default)]
    pub topic: String,
    /// The payload.
    #[serde(flatten)]
    pub content: Content,
    /// Answer only when all live peers hold it, or after this many milliseconds (at most a minute).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The JSON of [`Publish`]; an unknown name is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublish {
    #[serde(default)]
    topic: String,
    text: Option<String>,
    payload_base64: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    wait_ms: Option<u64>,
}

/// Reads a whole number, also as `5000.0`, because JSON does not distinguish it from `5000`.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else { return Ok(None) };
    let float = || number.as_f64().filter(|f| f.fract() == 0.0 && (0.0..9e15).contains(f));
    let whole = number.as_u64().or_else(|| float().map(|f| f as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is not a whole number")))
}

impl From<RawPublish> for Publish {
    fn from(raw: RawPublish) -> Self {
        let RawPublish { topic, text, payload_base64, wait_ms } = raw;
        Publish { topic, content: Content { text, payload_base64 }, wait_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_refuses_unknown_fields_and_accepts_whole_floats() {
        let read = |text: &str| serde_json::from_str::<Publish>(text);
        let waits = |text: &str| read(&format!(r#"{{"text":"x","wait_ms":{text}}}"#)).ok();
        assert_eq!(waits("5000.0").unwrap().wait_ms, Some(5000));
        assert_eq!(waits("7").unwrap().wait_ms, Some(7));
        assert_eq!(waits("null").unwrap().wait_ms, None);
        assert!(waits("0.5").is_none() && waits("-1").is_none() && waits("1e300").is_none());
        let typo = read(r#"{"txt":"x"}"#).unwrap_err().to_string();
        assert!(typo.contains("unknown field `txt`"), "{typo}");
    }

    #[test]
    fn publish_reads_flat_json() {
        let p: Publish = serde_json::from_str(r#"{"topic":"t","text":"hi"}"#).unwrap();
        assert_eq!(p.content.bytes(), Some(b"hi".to_vec()));
    }
}
