//! The token: one for ever, or a new one for every attempt.

use crate::error::DialError;
use crate::reach::has_control;
use piko_driver::Setting;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Asked = Pin<Box<dyn Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send>>;

/// What is sent as `Authorization: Bearer <token>`.
#[derive(Clone)]
pub(crate) enum Token {
    Asked(Arc<dyn Fn() -> Asked + Send + Sync>),
    /// Shared by clones, so that another one reaches listeners that are there already.
    Fixed(Setting<Option<String>>),
}

impl Default for Token {
    fn default() -> Self {
        Self::Fixed(None.into())
    }
}

impl Token {
    pub(crate) fn fixed(token: String) -> Self {
        Self::Fixed(Some(token).into())
    }

    pub(crate) fn provider<F, T, E>(ask: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::Asked(Arc::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    /// The token for one attempt, fit for a header; `None` where there is none.
    pub(crate) async fn ask(&self) -> Result<Option<String>, DialError> {
        match self {
            Self::Fixed(token) => Ok(token.get()),
            Self::Asked(provider) => {
                let token = provider().await.map_err(DialError::Token)?;
                // The next one may be better, so that this is no mistake that ends everything.
                if has_control(&token) {
                    return Err(DialError::Token(
                        "a control character (such as a line break at the end)".into(),
                    ));
                }
                Ok(Some(token))
            }
        }
    }
}
