//! Challenges, and whether a request answers one.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{DigestParameters, Draft, HeaderName, Method, Uri, unquote};
use subtle::ConstantTimeEq;

use super::algorithm::{Algorithm, Ha1Set};
use super::digest::DigestCredentials;
use super::nonce::{Claimed, Nonce, NonceSeal};
use super::replay::ReplayTable;
use crate::time::UnixTime;

/// Credentials for our realm that are looked at in one request; further ones are ignored, so that nobody can make us hash.
const MAX_CREDENTIALS: usize = 4;

/// How users are found: the hashes of a user of a realm.
pub type Users<'a> = &'a dyn Fn(&str, &str) -> Option<Ha1Set>;

/// The configuration of an [`Authenticator`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The realm of the challenges.
    pub realm: String,
    /// In the order of the challenges.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce serves.
    pub nonce_lifetime: Duration,
    /// For how many nonces the used counts are remembered, in about 30 bytes each.
    pub replay_nonces: usize,
}

impl Default for AuthConfig {
    fn default() -> AuthConfig {
        AuthConfig {
            realm: "localhost".to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_lifetime: Duration::from_secs(300),
            replay_nonces: 262_144,
        }
    }
}

/// What the credentials of a request are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// They are right, and used for the first time.
    Verified {
        /// The user name.
        user: String,
        /// The algorithm that was used.
        algorithm: Algorithm,
    },
    /// There are none for the realm.
    Missing,
    /// They are right, but the nonce is too old or was used like this before: challenge with `stale=true`.
    Stale,
    /// They are wrong.
    Failed,
}

/// Challenges and verifies for one realm. Shared by all workers.
pub struct Authenticator {
    config: AuthConfig,
    nonces: NonceSeal,
    /// Shared by the realms of one router.
    replays: Arc<ReplayTable>,
    /// What every challenge begins with, up to the nonce.
    begin: Vec<u8>,
    /// Stands for the hash of a user there is not, so that both cost the same.
    nobody: [u8; 32],
}

impl Authenticator {
    /// An authenticator whose nonces are under `key`.
    pub fn new(key: [u8; 32], config: AuthConfig) -> Authenticator {
        let replays = Arc::new(ReplayTable::new(config.replay_nonces));
        Authenticator::with_replays(key, config, replays)
    }

    /// An authenticator for another realm under the same key. Nonces of one realm are worth nothing in the other.
    pub fn for_realm(&self, key: &[u8; 32], realm: &str) -> Authenticator {
        let mut hasher = blake3::Hasher::new_derive_key("patchbay nonces of a realm v1");
        hasher.update(key);
        hasher.update(realm.as_bytes());
        let config = AuthConfig {
            realm: realm.to_owned(),
            ..self.config.clone()
        };
        let key = *hasher.finalize().as_bytes();
        Authenticator::with_replays(key, config, Arc::clone(&self.replays))
    }

    fn with_replays(key: [u8; 32], config: AuthConfig, replays: Arc<ReplayTable>) -> Authenticator {
        Authenticator {
            begin: begin_of_challenges(&config.realm),
            config,
            nonces: NonceSeal::new(&key),
            replays,
            nobody: blake3::derive_key("patchbay digest nobody v1", &key),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &AuthConfig {
        &self.config
    }

    /// Checks the credentials for our realm in Authorization and Proxy-Authorization (RFC 3261 §22.4).
    ///
    /// A nonce count serves once: ask once per request and keep the answer.
    pub fn verify(&self, request: &Draft, now: UnixTime, users: Users<'_>) -> Verification {
        let mut result = Verification::Missing;
        for value in credentials_of(request, &self.config.realm).take(MAX_CREDENTIALS) {
            match self.verify_one(&value, request, now, users) {
                verified @ Verification::Verified { .. } => return verified,
                Verification::Stale => result = Verification::Stale,
                other if result == Verification::Missing => result = other,
                _ => {}
            }
        }
        result
    }

    /// The values for WWW-Authenticate or Proxy-Authenticate, one per algorithm in the configured order (RFC 8760 §2.4).
    ///
    /// A `user` that is known is challenged with the algorithms there is a hash for. `random` tells the nonce from others of
    /// the same second. A request with more than one challenge shares the nonce among them: it is answered once.
    pub fn challenge(
        &self,
        now: UnixTime,
        random: u64,
        user: Option<&Ha1Set>,
        stale: bool,
    ) -> Vec<Vec<u8>> {
        let nonce = self.nonces.text(Nonce::new(now, random));
        self.offered(user)
            .map(|algorithm| self.challenge_value(&nonce, algorithm, stale))
            .collect()
    }

    /// [`Authenticator::challenge`] for the user who seems to send this request: the one in its credentials, else in To of a
    /// REGISTER and in From of others.
    pub fn challenge_request(
        &self,
        request: &Draft,
        now: UnixTime,
        random: u64,
        users: Users<'_>,
        stale: bool,
    ) -> Vec<Vec<u8>> {
        // With one algorithm there is nothing to choose.
        let user = match self.config.algorithms.as_slice() {
            [] | [_] => None,
            _ => claimed_user(request, &self.config.realm)
                .and_then(|user| users(std::str::from_utf8(&user).ok()?, &self.config.realm)),
        };
        self.challenge(now, random, user.as_ref(), stale)
    }

    /// Without a hash for any configured algorithm the whole list: like for a user there is not.
    fn offered<'a>(&'a self, user: Option<&'a Ha1Set>) -> impl Iterator<Item = Algorithm> + 'a {
        let configured = self.config.algorithms.iter().copied();
        let user = user.filter(|user| configured.clone().any(|algorithm| user.has(algorithm)));
        configured.filter(move |&algorithm| user.is_none_or(|user| user.has(algorithm)))
    }

    fn challenge_value(&self, nonce: &[u8], algorithm: Algorithm, stale: bool) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.begin.len() + 128);
        value.extend_from_slice(&self.begin);
        value.extend_from_slice(nonce);
        value.extend_from_slice(b"\", algorithm=");
        value.extend_from_slice(algorithm.name().as_bytes());
        value.extend_from_slice(b", qop=\"auth\"");
        if stale {
            value.extend_from_slice(b", stale=true");
        }
        value
    }

    fn verify_one(
        &self,
        credentials: &DigestParameters<'_>,
        request: &Draft,
        now: UnixTime,
        users: Users<'_>,
    ) -> Verification {
        let Some(digest) = DigestCredentials::read(credentials) else {
            return Verification::Failed;
        };
        // RFC 8760 §2.4: only what was offered, so that nobody is talked down to a weaker algorithm.
        if !self.config.algorithms.contains(&digest.algorithm) {
            return Verification::Failed;
        }
        // Policies may have edited the request; the credentials are for what came.
        let received = request.base();
        if !is_same_resource(&digest.uri, received.request_uri()) {
            return Verification::Failed;
        }
        // It is looked up when the hash is made, which takes as long as it takes the memory.
        let nonce = Claimed::read(&digest.nonce);
        if let Some(claimed) = &nonce {
            self.replays.prefetch(claimed.nonce);
        }
        let user = std::str::from_utf8(&digest.username).ok();
        let known = user.and_then(|user| users(user, &self.config.realm));
        let ha1 = known.as_ref().and_then(|set| set.get(digest.algorithm));
        let nobody = self
            .nobody
            .get(..digest.algorithm.hash_bytes())
            .unwrap_or_default();
        let expected = digest.expected_response(
            ha1.unwrap_or(nobody),
            received.method().as_bytes(),
            received.body(),
        );
        let is_right = is_same_response(expected.as_bytes(), &digest.response);
        match user {
            Some(user) if is_right && ha1.is_some() => self.verify_nonce(nonce, &digest, user, now),
            _ => Verification::Failed,
        }
    }

    /// RFC 7616 §3.3: right credentials with a nonce that no longer serves are stale.
    fn verify_nonce(
        &self,
        nonce: Option<Claimed>,
        digest: &DigestCredentials<'_>,
        user: &str,
        now: UnixTime,
    ) -> Verification {
        let oldest_secs = now.0.saturating_sub(self.config.nonce_lifetime.as_secs());
        let Some(claimed) = nonce.filter(|claimed| self.nonces.is_ours(claimed)) else {
            return Verification::Stale;
        };
        let nonce = claimed.nonce;
        if nonce.issued.0 < oldest_secs || !self.replays.accept(nonce, digest.usage, oldest_secs) {
            return Verification::Stale;
        }
        Verification::Verified {
            user: user.to_owned(),
            algorithm: digest.algorithm,
        }
    }
}

fn begin_of_challenges(realm: &str) -> Vec<u8> {
    let mut begin = b"Digest realm=\"".to_vec();
    for &byte in realm.as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            begin.push(b'\\');
        }
        begin.push(byte);
    }
    begin.extend_from_slice(b"\", nonce=\"");
    begin
}

/// RFC 3261 §22.3: there may be credentials for several realms.
fn credentials_of<'a>(
    request: &'a Draft,
    realm: &'a str,
) -> impl Iterator<Item = DigestParameters<'a>> {
    // That there is none is seen at once.
    let fields = |name| {
        let has_one = request.header(name).is_some();
        has_one.then(|| request.headers(name)).into_iter().flatten()
    };
    fields(HeaderName::Authorization)
        .chain(fields(HeaderName::ProxyAuthorization))
        .filter_map(|value| DigestParameters::parse(value).ok()?)
        .filter(|parameters| parameters.realm.map(unquote).as_deref() == Some(realm.as_bytes()))
}

/// In constant time, whatever the case of the digits.
fn is_same_response(expected: &[u8], given: &[u8]) -> bool {
    let mut lower = [0; 64];
    let Some(lower) = lower.get_mut(..given.len()) else {
        return false;
    };
    lower.copy_from_slice(given);
    lower.make_ascii_lowercase();
    // A hash has a multiple of 16 digits, which are compared so many at a time.
    let ((expected, []), (given, [])) = (expected.as_chunks::<16>(), lower.as_chunks::<16>())
    else {
        return false;
    };
    let differences = expected
        .iter()
        .zip(given)
        .fold(0, |differences, (one, other)| {
            differences | (u128::from_ne_bytes(*one) ^ u128::from_ne_bytes(*other))
        });
    expected.len() == given.len() && bool::from(differences.ct_eq(&0))
}

/// RFC 7616 §3.4.6 wants the URI that was requested; RFC 3261 §22.4 says that in SIP it is not necessarily a failure if the
/// two are not equivalent, because proxies rewrite the Request-URI. Clients also name the address of the server that they talk
/// to instead of its domain. So credentials for one user may not be used for another, and the rest is left to the nonce.
fn is_same_resource(given: &[u8], requested: &[u8]) -> bool {
    if given == requested {
        return true;
    }
    match (Uri::parse(given), Uri::parse(requested)) {
        (Ok(given), Ok(requested)) => {
            given.user.is_none() || given.user_unescaped() == requested.user_unescaped()
        }
        _ => false,
    }
}

fn claimed_user<'a>(request: &'a Draft, realm: &'a str) -> Option<Cow<'a, [u8]>> {
    if let Some(credentials) = credentials_of(request, realm).next() {
        return credentials.username.map(unquote);
    }
    let address = if request.method() == Method::Register {
        request.to()
    } else {
        request.from()
    };
    let uri = address.ok()?.uri().ok()?;
    Some(uri.user_unescaped())
}
