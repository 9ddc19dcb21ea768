//! The admin API: HTTP for operators, the command line and Prometheus, on a thread of its own.

mod audit;
mod caller;
mod calls;
mod canary;
mod guard;
mod policies;
mod recording;
mod registrations;
mod reply;
mod routes;
mod shadow;
mod versions;
mod views;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::data_dir::write_private;
use crate::policy_directory::{Deployments, MAX_POLICY_BYTES};
use crate::server::Shared;
use crate::worker::Workers;

pub(crate) use caller::{CLIENT_HEADER, VIA_HEADER};
pub(crate) use policies::SIGNATURE_HEADER;

/// The largest JSON body that is taken.
const MAX_JSON_BYTES: usize = 64 << 10;

/// What the handlers need.
pub struct Admin {
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// The workers.
    pub workers: Arc<Workers>,
    /// The policies.
    pub deployments: Arc<Deployments>,
    /// The folder of recordings.
    pub recordings: PathBuf,
    /// When the router started.
    pub started: Instant,
    /// Whether the router serves: not before its workers run.
    pub ready: AtomicBool,
    /// The bound address.
    pub address: SocketAddr,
    /// The configured bearer token.
    pub token: Option<String>,
    /// The token of commands that can read the data directory.
    pub local_token: String,
}

/// What a running router leaves in its data directory, so that commands on the same machine find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The bound address of the admin API.
    pub address: SocketAddr,
    /// A token that is good while this router runs.
    pub token: String,
}

impl Endpoint {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("admin.json")
    }

    /// The router that runs on this data directory, as far as one left its address.
    pub fn read(data_dir: &Path) -> Option<Endpoint> {
        serde_json::from_slice(&std::fs::read(Endpoint::path(data_dir)).ok()?).ok()
    }

    /// Leaves the address in the data directory, for the owner alone.
    pub fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        write_private(&Endpoint::path(data_dir), &serde_json::to_vec(self)?)
    }

    /// Takes it away at the end.
    pub fn remove(data_dir: &Path) {
        // A file that stays names a port where nobody answers: commands say so.
        let _ = std::fs::remove_file(Endpoint::path(data_dir));
    }
}

/// The thread of the admin API.
pub struct AdminThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminThread {
    /// Serves on this listener.
    pub fn start(
        admin: Arc<Admin>,
        listener: std::net::TcpListener,
    ) -> std::io::Result<AdminThread> {
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || serve(admin, listener, stopped))?;
        Ok(AdminThread {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only when the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the admin API panicked");
        }
    }
}

fn serve(admin: Arc<Admin>, listener: std::net::TcpListener, stopped: oneshot::Receiver<()>) {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            let result = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::select! {
                    served = async {
                        let service = router(admin).into_make_service_with_connect_info::<SocketAddr>();
                        axum::serve(listener, service).await
                    } => served,
                    _ = stopped => Ok(()),
                }
            });
            // A policy that is being compiled for a request that nobody waits for must not hold up the end.
            runtime.shutdown_background();
            result
        });
    if let Err(error) = served {
        tracing::error!(%error, "the admin API ended");
    }
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/healthz", get(views::healthz))
        .route("/readyz", get(views::readyz))
        .route("/metrics", get(views::metrics))
        .route("/api/v1/status", get(views::status))
        .route("/api/v1/transactions", get(views::transactions))
        .route("/api/v1/policies", get(policies::list))
        .route("/api/v1/policies/rollback", post(policies::rollback))
        .route(
            "/api/v1/policies/{name}",
            put(policies::store).layer(DefaultBodyLimit::max(MAX_POLICY_BYTES)),
        )
        .route("/api/v1/policies/{name}/activate", post(policies::activate))
        .route("/api/v1/policies/{name}/canary", post(canary::begin))
        .route("/api/v1/policies/{name}/promote", post(canary::promote))
        .route("/api/v1/policies/{name}/abort", post(canary::abort))
        .route("/api/v1/audit", get(audit::list))
        .route(
            "/api/v1/policies/{name}/shadow",
            get(shadow::show).post(shadow::start).delete(shadow::end),
        )
        .route("/api/v1/shadow", get(shadow::current))
        .route(
            "/api/v1/recording",
            get(recording::status)
                .post(recording::start)
                .delete(recording::stop),
        )
        .route("/api/v1/calls", get(calls::list))
        .route("/api/v1/calls/{*call_id}", get(calls::show))
        .route("/api/v1/registrations", get(registrations::list))
        .route(
            "/api/v1/registrations/{*aor}",
            delete(registrations::remove),
        )
        .fallback(reply::not_found)
        .method_not_allowed_fallback(reply::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin),
            guard::guard,
        ))
        .layer(middleware::map_response(reply::in_one_shape))
        .with_state(admin)
}

impl Admin {
    fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_left_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = Endpoint {
            address: "127.0.0.1:8060".parse().expect("valid"),
            token: "t".into(),
        };
        endpoint.write(folder.path()).expect("write");
        assert_eq!(Endpoint::read(folder.path()), Some(endpoint));
        let mode = std::fs::metadata(Endpoint::path(folder.path()))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        Endpoint::remove(folder.path());
        assert_eq!(Endpoint::read(folder.path()), None);
    }
}
