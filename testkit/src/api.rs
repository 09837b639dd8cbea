//! Calls of the application's API, with the key once there is one: for the demo and the benchmark, which look at it from
//! the outside.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Anything that goes wrong; it is shown and nothing else.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long an answer may take: the application gives itself 30 seconds, and 10 more for the twin of a request.
const ANSWER: Duration = Duration::from_secs(120);
/// The same for a table of contacts, which is as long as its upload.
const UPLOAD: Duration = Duration::from_secs(900);

/// Who calls.
pub struct Api {
    client: Client,
    base: String,
    key: Option<String>,
}

impl Api {
    /// A caller without a key.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(base: &str) -> Result<Self, Error> {
        // An error here means that there is a provider already.
        rustls::crypto::ring::default_provider().install_default().ok();
        Ok(Self {
            client: Client::builder().no_proxy().timeout(ANSWER).build()?,
            base: base.to_owned(),
            key: None,
        })
    }

    /// Calls with this key from now on.
    #[must_use]
    pub fn with_key(self, key: String) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// No answer, or one that is no success: its body is shown.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        self.call(Method::GET, path, None).await
    }

    /// The answer to a POST.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The answer to a POST with an `Idempotency-Key`: asked again, it is the same.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_once(&self, path: &str, body: &Value, key: &str) -> Result<Value, Error> {
        let request = self.request(Method::POST, path).header("idempotency-key", key).json(body);
        answer_of(request, &Method::POST, path).await
    }

    /// Posts nothing to this address, as a mail program does that unsubscribes (RFC 8058).
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn click(&self, url: &str) -> Result<(), Error> {
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(url).header("content-type", form).body("List-Unsubscribe=One-Click");
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// The answer to a POST of a table.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_csv(&self, path: &str, table: Vec<u8>) -> Result<Value, Error> {
        let request =
            self.request(Method::POST, path).header("content-type", "text/csv").timeout(UPLOAD).body(table);
        answer_of(request, &Method::POST, path).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let request = self.request(method.clone(), path);
        let request = if let Some(body) = body { request.json(body) } else { request };
        answer_of(request, &method, path).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key { request.bearer_auth(key) } else { request }
    }
}

async fn answer_of(request: RequestBuilder, method: &Method, path: &str) -> Result<Value, Error> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        return Err(format!("{method} {path}: {status} {text}").into());
    }
    Ok(serde_json::from_str(&text)?)
}

/// A text inside an answer, named by a JSON pointer.
///
/// # Errors
/// It is not there.
pub fn text(answer: &Value, pointer: &str) -> Result<String, Error> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("no {pointer} in {answer}"))?.to_owned())
}

/// A number inside an answer.
///
/// # Errors
/// It is not there.
pub fn number(answer: &Value, pointer: &str) -> Result<u64, Error> {
    let found = answer.pointer(pointer).and_then(Value::as_u64);
    Ok(found.ok_or_else(|| format!("no {pointer} in {answer}"))?)
}
