//! What upstreams and dialers are told in the same words.

/// The methods that set a field `reach` of `Self`.
macro_rules! reach_options {
    () => {
        /// A further server, tried when those before it could not be connected to. Every round of attempts begins with
        /// the first; a server that is lost is no reason to begin elsewhere. (A dialer passes over servers that cost
        /// time lately.)
        ///
        /// # Errors
        ///
        /// Why the text is no URL of a server.
        pub fn fallback(self, url: &str) -> Result<Self, BadUrl> {
            Ok(self.fallback_to(Url::parse(url)?))
        }

        /// As `fallback`, for a URL that has been parsed.
        #[must_use]
        pub fn fallback_to(mut self, url: Url) -> Self {
            self.reach.urls.push(url);
            self
        }

        /// Sent as `Authorization: Bearer <token>`.
        #[must_use]
        pub fn token(mut self, token: impl Into<String>) -> Self {
            self.reach.token = $crate::token::Token::fixed(token.into());
            self
        }

        /// Asked for the token of every attempt, so that one that expires is followed by another. The time that it takes
        /// is part of the attempt; when it fails, so does the attempt, with [`DialError::Token`], and the next one asks
        /// again.
        #[must_use]
        pub fn token_provider<F, T, E>(mut self, ask: F) -> Self
        where
            F: Fn() -> T + Send + Sync + 'static,
            T: Future<Output = Result<String, E>> + Send + 'static,
            E: Into<Box<dyn std::error::Error + Send + Sync>>,
        {
            self.reach.token = $crate::token::Token::provider(ask);
            self
        }

        /// The proxy to connect through: `http://[user:password@]host[:port]` for `CONNECT`, `socks5://…` or
        /// `socks5h://…`. Without it connections are direct, whatever the environment says, as with Go's.
        ///
        /// # Errors
        ///
        /// Why the text is no URL of a proxy.
        #[cfg(feature = "proxy")]
        pub fn proxy_url(mut self, url: &str) -> Result<Self, BadUrl> {
            self.reach.proxy = Some($crate::proxy::Proxy::parse(url)?);
            Ok(self)
        }

        /// How to speak TLS with a server whose URL asks for it (`https`, `wss`). Without it such a server is refused.
        #[cfg(feature = "tls")]
        #[must_use]
        pub fn tls(mut self, connector: Arc<piko_driver::tls::Connector>) -> Self {
            self.reach.tls = Some(connector);
            self
        }
    };
}

pub(crate) use reach_options;
