//! Who a request is from: the credentials in it, checked once.

use patchbay_core::auth;
use patchbay_policy::{Host, Verification};

use super::HookHost;
use crate::trace::{Answer, verification_name};

impl HookHost {
    /// The contract: a nonce count serves once, so that credentials are checked once per transaction.
    pub(super) fn verify_once(&mut self) -> Verification {
        let context = self.context.as_deref();
        if context.is_some_and(|context| context.verified_user.is_some()) {
            return Verification::Verified;
        }
        let verification = match &self.services {
            Some(_) => self.check_credentials(),
            None => return self.played_verification().unwrap_or(Verification::Missing),
        };
        self.note(|| Answer::Verify {
            answer: verification_name(verification).to_owned(),
            user: self.verified_user().map(str::to_owned),
        });
        verification
    }

    fn check_credentials(&mut self) -> Verification {
        let (Some(services), Some(context)) = (&self.services, &self.context) else {
            return Verification::Missing;
        };
        let users = |user: &str, realm: &str| services.shared.users.ha1(user, realm);
        let authenticator = self.authenticator(services);
        match authenticator.verify(&context.request, self.now.unix, &users) {
            auth::Verification::Verified { user, .. } => {
                let mut verified = user;
                verified.push('@');
                verified.push_str(&authenticator.config().realm);
                if let Some(context) = &mut self.context {
                    context.verified_user = Some(verified);
                }
                Verification::Verified
            }
            auth::Verification::Missing => Verification::Missing,
            auth::Verification::Stale => Verification::Stale,
            auth::Verification::Failed => Verification::Failed,
        }
    }
}
