//! A policy in one of the languages, loaded into `patchbay-policy` with the default limits.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use patchbay_policy::{
    Engine, EngineConfig, Event, Fault, Hook, HookDone, Instances, LoadError, Verdict, Version,
};

use crate::host::{Recorder, World};

/// The languages, as the folders of their policies end.
pub(crate) const LANGUAGES: [&str; 8] = ["rust", "js", "ts", "py", "go", "c", "cpp", "zig"];

/// Where compiled policies stay between runs: Python takes a quarter of a minute to compile.
pub(crate) fn compiled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance")
}

/// An engine with the defaults of the configuration: they have to do for every language.
fn engine(instance_reuse: u32) -> Engine<Recorder> {
    let config = EngineConfig {
        cache_dir: Some(compiled()),
        instance_reuse,
        ..EngineConfig::default()
    };
    Engine::new(config).expect("an engine")
}

/// A version with the instances of one worker.
pub(crate) struct Guest {
    version: Arc<Version<Recorder>>,
    instances: Instances<Recorder>,
    runtime: OnceCell<tokio::runtime::Runtime>,
}

impl Guest {
    /// Loads a component; its instances serve so many hooks each.
    pub(crate) fn load(
        component: &Path,
        instance_reuse: u32,
        world: &World,
    ) -> Result<Guest, LoadError> {
        let engine = engine(instance_reuse);
        let bytes = std::fs::read(component).expect("a component");
        let init = || {
            Recorder::new(World {
                message: None,
                ..world.clone()
            })
        };
        Ok(Guest {
            version: engine.load("conformance", &bytes, init)?,
            instances: Instances::new(engine, 0),
            runtime: OnceCell::new(),
        })
    }

    /// Runs one hook.
    pub(crate) fn run(
        &self,
        hook: Hook,
        world: World,
        event: Option<Event>,
    ) -> (Result<Verdict, Fault>, Recorder) {
        let runtime = self.runtime.get_or_init(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime")
        });
        let run = self
            .instances
            .run(&self.version, hook, Recorder::new(world), event);
        let HookDone { result, host, .. } = runtime.block_on(run);
        (result, host.expect("a host that comes back"))
    }
}
