//! Challenges, and whether a request answers one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{DigestParameters, Draft, HeaderName, Method, Uri};
use subtle::ConstantTimeEq;

use super::algorithm::{Algorithm, Ha1Set};
use super::digest::DigestCredentials;
use super::nonce::{Claimed, Nonce, NonceSeal, TEXT_BYTES};
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
        /// The user name. `@` and the realm can be appended without an allocation.
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
    /// In the order of the challenges.
    forms: Vec<ChallengeForm>,
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
            forms: ChallengeForm::all(&config),
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
        let mut left = MAX_CREDENTIALS;
        self.each_credentials(request, |credentials| {
            result.improve(self.verify_one(credentials, request, now, users));
            left -= 1;
            match result {
                Verification::Verified { .. } => ControlFlow::Break(()),
                _ if left == 0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
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
        // Without a hash for any configured algorithm the whole list: like for a user there is not.
        let user = user.filter(|user| self.forms.iter().any(|form| user.has(form.algorithm)));
        let mut values = Vec::with_capacity(self.forms.len());
        for form in &self.forms {
            if user.is_none_or(|user| user.has(form.algorithm)) {
                values.push(form.value(&nonce, stale));
            }
        }
        values
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
            _ => self.claimed_user(request, users),
        };
        self.challenge(now, random, user.as_ref(), stale)
    }

    /// The hashes of the user who seems to send this request.
    fn claimed_user(&self, request: &Draft, users: Users<'_>) -> Option<Ha1Set> {
        let known = |user: &[u8]| users(std::str::from_utf8(user).ok()?, &self.config.realm);
        let mut claimed = None;
        self.each_credentials(request, |credentials| {
            claimed = Some(credentials.username.and_then(known));
            ControlFlow::Break(())
        });
        if let Some(user) = claimed {
            return user;
        }
        let address = if request.method() == Method::Register {
            request.to()
        } else {
            request.from()
        };
        known(&address.ok()?.uri().ok()?.user_unescaped())
    }

    /// RFC 3261 §22.3: there may be credentials for several realms. Hands over those for ours until `take` breaks.
    #[inline]
    fn each_credentials(
        &self,
        request: &Draft,
        mut take: impl FnMut(&DigestParameters<'_>) -> ControlFlow<()>,
    ) {
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for value in values_of(request, name) {
                let mut room = Vec::new();
                let Ok(Some(found)) = DigestParameters::parse(value, &mut room) else {
                    continue;
                };
                if found.realm == Some(self.config.realm.as_bytes()) && take(&found).is_break() {
                    return;
                }
            }
        }
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
        if !is_same_resource(digest.uri, received.request_uri()) {
            return Verification::Failed;
        }
        // It is looked up when the hash is made, which takes as long as it takes the memory.
        let nonce = Claimed::read(digest.nonce);
        if let Some(claimed) = &nonce {
            self.replays.prefetch(claimed.nonce);
        }
        let user = std::str::from_utf8(digest.username).ok();
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
        let is_right = is_same_response(expected.as_bytes(), digest.response);
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
        let realm = &self.config.realm;
        let mut verified = String::with_capacity(user.len() + 1 + realm.len());
        verified.push_str(user);
        Verification::Verified {
            user: verified,
            algorithm: digest.algorithm,
        }
    }
}

impl Verification {
    /// Further credentials count when they are right, or more so than those before.
    fn improve(&mut self, other: Verification) {
        match (&self, &other) {
            (_, Verification::Verified { .. } | Verification::Stale)
            | (Verification::Missing, _) => *self = other,
            _ => {}
        }
    }
}

/// The value of every field of that name. There is none or one as a rule, which is found at once.
fn values_of(request: &Draft, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let first = request.header(name).into_iter();
    let others = move |_| request.headers(name).skip(1);
    first.clone().chain(first.flat_map(others))
}

/// A challenge up to its nonce, what is the same in all of them for this algorithm.
struct ChallengeForm {
    algorithm: Algorithm,
    /// With a gap for the nonce.
    text: Vec<u8>,
    nonce_at: usize,
}

const STALE: &[u8] = b", stale=true";

impl ChallengeForm {
    fn all(config: &AuthConfig) -> Vec<ChallengeForm> {
        let form = |algorithm: &Algorithm| ChallengeForm::new(&config.realm, *algorithm);
        config.algorithms.iter().map(form).collect()
    }

    fn new(realm: &str, algorithm: Algorithm) -> ChallengeForm {
        let mut text = b"Digest realm=\"".to_vec();
        for &byte in realm.as_bytes() {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.extend_from_slice(b"\", nonce=\"");
        let nonce_at = text.len();
        text.extend_from_slice(&[0; TEXT_BYTES]);
        text.extend_from_slice(b"\", algorithm=");
        text.extend_from_slice(algorithm.name().as_bytes());
        text.extend_from_slice(b", qop=\"auth\"");
        ChallengeForm {
            algorithm,
            text,
            nonce_at,
        }
    }

    fn value(&self, nonce: &[u8; TEXT_BYTES], stale: bool) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.text.len() + STALE.len());
        value.extend_from_slice(&self.text);
        let after = value.get_mut(self.nonce_at..).unwrap_or_default();
        if let Some(gap) = after.first_chunk_mut() {
            *gap = *nonce;
        }
        if stale {
            value.extend_from_slice(STALE);
        }
        value
    }
}

/// In constant time, whatever the case of the digits.
fn is_same_response(expected: &[u8], given: &[u8]) -> bool {
    if expected.len() != given.len() {
        return false;
    }
    // A hash has a multiple of 16 digits, which are compared so many at a time.
    let ((expected, []), (given, [])) = (expected.as_chunks::<16>(), given.as_chunks::<16>())
    else {
        return false;
    };
    let differences = expected
        .iter()
        .zip(given)
        .fold(0, |differences, (one, other)| {
            let mut lower = *other;
            lower.make_ascii_lowercase();
            differences | (u128::from_ne_bytes(*one) ^ u128::from_ne_bytes(lower))
        });
    differences.ct_eq(&0).into()
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
