//! The WebAssembly engine of the process: how components are compiled, checked and limited.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::{Component, InstancePre};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, Store, Strategy};

use crate::cache::{Cache, Form};
use crate::capability::{self, Want};
use crate::compilations::Compilations;
use crate::digest::Digest;
use crate::direct::{self, Harness, Program, Shape};
use crate::exchange;
use crate::form::{not_a_component, one_line};
use crate::host::Host;
use crate::imports::Imports;
use crate::instance;
use crate::policies::Use;
use crate::state::{MAX_TABLE_ELEMENTS, RunLimits, State};
use crate::ticker::{Presence, Ticker, Watch};
use crate::verdict::Fault;
use crate::version::{Code, Version};
use crate::world::{self, CheckError, ComponentReport, Exports};

/// Frames of a trap that are kept for the log.
const BACKTRACE_FRAMES: usize = 8;
/// Versions that are checked at the same time.
const CHECKED_INSTANCES: usize = 8;
/// A component's memories and tables. Those of JavaScript and Python have several.
const MAX_MEMORIES: u32 = 4;
const MAX_TABLES: u32 = 4;
/// A component's core modules; those of JavaScript and Python have many.
const MAX_CORE_INSTANCES: u32 = 60;
/// Reserving 4 GiB for each memory lets compiled code skip bounds checks. Beyond this much address space in sum, every memory reserves
/// its limit and no more.
const MAX_ADDRESS_SPACE: u64 = 64 << 40;
const FULL_RESERVATION: u64 = 4 << 30;
const SMALL_GUARD: u64 = 64 << 10;
/// What stays mapped when an instance gives its slot back.
const KEEP_RESIDENT: usize = 256 << 10;
const WASM_PAGE: usize = 64 << 10;

/// The limits of policies, from the configuration.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where compiled policies are kept; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of memory of one instance.
    pub memory_limit: usize,
    /// Running time of one hook.
    pub hook_deadline: Duration,
    /// Running and waiting time of one hook.
    pub hook_timeout: Duration,
    /// Hooks that wait for answers from outside, per worker.
    pub max_concurrent_hooks: usize,
    /// Instances beyond those of hooks that wait, per worker: of hooks that run, and idle ones.
    pub spare_instances: usize,
    /// How many workers there are.
    pub workers: usize,
    /// After how many hooks an instance is replaced; 1: a fresh one for each hook.
    pub instance_reuse: u32,
    /// Whether a component whose shape is known runs as the core module that it is, which costs less; others run as components in any
    /// case.
    pub direct: bool,
}

impl Default for EngineConfig {
    /// The defaults of the configuration file, for one worker and without a cache.
    fn default() -> EngineConfig {
        EngineConfig {
            cache_dir: None,
            memory_limit: 64 << 20,
            hook_deadline: Duration::from_millis(50),
            hook_timeout: Duration::from_secs(5),
            max_concurrent_hooks: 1000,
            spare_instances: 64,
            workers: 1,
            instance_reuse: 10_000,
            direct: true,
        }
    }
}

/// The engine can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the configuration, or the machine has not enough address space.
    #[error("the WebAssembly engine does not start: {0:#}")]
    Wasmtime(wasmtime::Error),
    /// The interrupting thread can't be started.
    #[error("the policy ticker does not start: {0}")]
    Ticker(std::io::Error),
    /// The cache folder can't be used.
    #[error("the folder {} for compiled policies can't be used: {source}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Why a version can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is no policy.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// It can't be instantiated: its start code failed, or it needs more than an instance gets.
    #[error("it can't be instantiated: {0}")]
    Instantiate(Fault),
    /// Its `init` returned this text.
    #[error("init refused: {0}")]
    Init(String),
    /// Its `init` failed.
    #[error("init failed: {0}")]
    InitFault(Fault),
    /// It can't start for a route of the configuration.
    #[error("for the route {route}: {}", .error.told_for("[policy.route.grants] of that route"))]
    Route {
        /// The route.
        route: String,
        /// Why.
        error: Box<LoadError>,
    },
}

/// Whether the operator has granted what a policy wants, for each of its uses.
fn check_grants<H: Host>(wants: &[Want], uses: &[Use<H>]) -> Result<(), LoadError> {
    for used in uses {
        let granted = |capability| used.host.grants(capability);
        let result = capability::check_grants(wants, granted);
        result.map_err(|error| LoadError::from(error).of_route(used.route.as_ref()))?;
    }
    Ok(())
}

/// Where the operator grants something, as errors name it.
const GRANTS: &str = "[policy.grants]";

impl LoadError {
    /// What is wrong, where grants are written in this section and not in `[policy.grants]`.
    pub fn told_for(&self, section: &str) -> String {
        self.to_string().replace(GRANTS, section)
    }

    /// Whether it says more of how busy the machine is than of the version, which may start a moment later.
    pub fn is_of_the_machine(&self) -> bool {
        match self {
            LoadError::Instantiate(fault) | LoadError::InitFault(fault) => {
                fault.is_of_the_machine()
            }
            LoadError::Route { error, .. } => error.is_of_the_machine(),
            LoadError::Check(_) | LoadError::Init(_) => false,
        }
    }

    fn of_route(self, route: Option<&String>) -> LoadError {
        match route {
            None => self,
            Some(route) => LoadError::Route {
                route: route.clone(),
                error: Box::new(self),
            },
        }
    }
}

/// Where compiled code came from so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Components that were compiled.
    pub compiled: u64,
    /// Components whose code was taken from the cache.
    pub cached: u64,
    /// Files of the cache that were not loaded, because they are damaged or belong to another engine.
    pub damaged: u64,
}

/// Compiles, checks and limits policies. Cloning it is cheap.
pub struct Engine<H: Host> {
    inner: Arc<Inner<H>>,
    config: Arc<EngineConfig>,
}

struct Inner<H: Host> {
    engine: wasmtime::Engine,
    imports: Imports<H>,
    harness: Harness<H>,
    cache: Option<Cache>,
    compilations: Compilations,
    compiled: AtomicU64,
    cached: AtomicU64,
    watch: Watch,
    _ticker: Ticker,
    _host: PhantomData<fn() -> H>,
}

impl<H: Host> Clone for Engine<H> {
    fn clone(&self) -> Engine<H> {
        Engine {
            inner: Arc::clone(&self.inner),
            config: Arc::clone(&self.config),
        }
    }
}

impl<H: Host> Engine<H> {
    /// Makes the engine and starts the thread that interrupts guests.
    pub fn new(config: EngineConfig) -> Result<Engine<H>, EngineError> {
        let engine = start(&config).map_err(EngineError::Wasmtime)?;
        let mut imports = Imports::new(&engine).map_err(EngineError::Wasmtime)?;
        let harness = Harness::new(&engine, &mut imports).map_err(EngineError::Wasmtime)?;
        let cache = match &config.cache_dir {
            Some(path) => {
                Some(
                    Cache::open(path, &engine).map_err(|source| EngineError::Cache {
                        path: path.clone(),
                        source,
                    })?,
                )
            }
            None => None,
        };
        let watch = Watch::default();
        let weak = engine.weak();
        let ticker = Ticker::start(watch.clone(), move || {
            if let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
            }
        })
        .map_err(EngineError::Ticker)?;
        Ok(Engine {
            inner: Arc::new(Inner {
                engine,
                imports,
                harness,
                cache,
                compilations: Compilations::default(),
                compiled: AtomicU64::new(0),
                cached: AtomicU64::new(0),
                watch,
                _ticker: ticker,
                _host: PhantomData,
            }),
            config: Arc::new(config),
        })
    }

    /// The same engine, whose versions may run for so long in the instances that are made with it.
    pub fn with_hook_deadline(&self, hook_deadline: Duration) -> Engine<H> {
        Engine {
            inner: Arc::clone(&self.inner),
            config: Arc::new(EngineConfig {
                hook_deadline,
                ..(*self.config).clone()
            }),
        }
    }

    /// Compiles a component and checks that it fits the WIT package, without running any of it.
    pub fn check(&self, bytes: &[u8]) -> Result<ComponentReport, CheckError> {
        let digest = Digest::of(bytes);
        let checked = self.compile(&digest, bytes)?;
        Ok(ComponentReport {
            digest,
            size_bytes: bytes.len(),
            hooks: checked.exports.hooks(),
            exports_init: checked.exports.init.is_some(),
            imports: checked.imports,
            wants: checked.wants,
            memory_bytes: capability::initial_memory(bytes),
        })
    }

    /// Compiles a component (or takes it from the cache), checks it and that the operator has granted what it imports, makes one instance
    /// and runs `init` in it.
    ///
    /// This takes as long as compiling takes: call it off the workers.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        init_host: impl Fn() -> H,
    ) -> Result<Arc<Version<H>>, LoadError> {
        self.load_for(name, bytes, vec![Use::anywhere(init_host())])
    }

    /// The same for several uses: the version has to start for each of them.
    pub fn load_for(
        &self,
        name: &str,
        bytes: &[u8],
        uses: Vec<Use<H>>,
    ) -> Result<Arc<Version<H>>, LoadError> {
        let digest = Digest::of(bytes);
        let checked = self.compile(&digest, bytes)?;
        check_grants(&checked.wants, &uses)?;
        let code = self.code(checked.pre, checked.shape)?;
        let version = Version::new(
            name,
            digest,
            checked.exports,
            (checked.imports, checked.wants),
            code,
            self.config.workers,
        );
        let version = Arc::new(version);
        self.check_uses(&version, uses)?;
        Ok(version)
    }

    /// Whether a loaded version starts for further uses.
    pub(crate) fn check_uses(
        &self,
        version: &Version<H>,
        uses: Vec<Use<H>>,
    ) -> Result<(), LoadError> {
        check_grants(&version.wants, &uses)?;
        for Use { route, host } in uses {
            instance::try_out(self, version, host)
                .map_err(|error| error.of_route(route.as_ref()))?;
        }
        Ok(())
    }

    /// Where a thread says that it is inside of a guest, so that the guest is interrupted when it runs for long.
    pub(crate) fn presence(&self) -> Presence {
        self.inner.watch.presence()
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Where compiled code came from so far.
    pub fn stats(&self) -> EngineStats {
        let inner = &self.inner;
        EngineStats {
            compiled: inner.compiled.load(Ordering::Relaxed),
            cached: inner.cached.load(Ordering::Relaxed),
            damaged: inner.cache.as_ref().map_or(0, Cache::damaged),
        }
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(crate) fn run_limits(&self) -> RunLimits {
        let config = &self.config;
        RunLimits {
            deadline: config.hook_deadline,
            timeout: config.hook_timeout,
            memory: memory_limit(config),
        }
    }

    fn compile(&self, digest: &Digest, bytes: &[u8]) -> Result<Checked<H>, CheckError> {
        let (component, shape) = match self.shape(bytes) {
            Some(shape) => self.compile_direct(digest, bytes, shape)?,
            None => (self.compile_component(digest, bytes)?, None),
        };
        let imports = world::check_imports(&component)?;
        let pre = self
            .inner
            .imports
            .component
            .instantiate_pre(&component)
            .map_err(|error| CheckError::Import(format!("{error:#}")))?;
        let exports = world::check_exports(&component, &pre)?;
        let wants = capability::wants(&component);
        Ok(Checked {
            wants,
            pre,
            shape,
            exports,
            imports,
        })
    }

    fn shape(&self, bytes: &[u8]) -> Option<Shape> {
        if !self.config.direct {
            return None;
        }
        Shape::of(bytes).filter(|shape| self.inner.harness.provides(shape))
    }

    fn compile_component(&self, digest: &Digest, bytes: &[u8]) -> Result<Component, CheckError> {
        if let Some(problem) = not_a_component(bytes) {
            return Err(problem);
        }
        if let Some(component) = self.cached(digest, Form::Component) {
            return Ok(component);
        }
        self.compile_cold(digest, bytes, Form::Component)
            .map_err(|error| CheckError::Invalid(one_line(&format!("{error:#}"))))
    }

    /// A component that is no valid one is compiled as it is, so that the error tells of the file and not of what was made of it.
    fn compile_direct(
        &self,
        digest: &Digest,
        bytes: &[u8],
        shape: Shape,
    ) -> Result<(Component, Option<Shape>), CheckError> {
        if let Some(component) = self.cached(digest, Form::Direct) {
            return Ok((component, Some(shape)));
        }
        let compiled = direct::rewritten(bytes, &shape)
            .and_then(|rewritten| self.compile_cold(digest, &rewritten, Form::Direct).ok());
        match compiled {
            Some(component) => Ok((component, Some(shape))),
            None => Ok((self.compile_component(digest, bytes)?, None)),
        }
    }

    fn cached(&self, digest: &Digest, form: Form) -> Option<Component> {
        let cache = self.inner.cache.as_ref()?;
        let component = cache.load(&self.inner.engine, digest, form)?;
        self.inner.cached.fetch_add(1, Ordering::Relaxed);
        Some(component)
    }

    fn compile_cold(
        &self,
        digest: &Digest,
        bytes: &[u8],
        form: Form,
    ) -> wasmtime::Result<Component> {
        let inner = &self.inner;
        let compile = || Component::new(&inner.engine, bytes);
        let component = inner.compilations.alone(compile)?;
        self.inner.compiled.fetch_add(1, Ordering::Relaxed);
        if let Some(cache) = &self.inner.cache {
            cache.store(&component, digest, form);
        }
        Ok(component)
    }

    fn code(&self, pre: InstancePre<State<H>>, shape: Option<Shape>) -> Result<Code<H>, LoadError> {
        let Some(shape) = shape else {
            return Ok(Code::Component(pre));
        };
        // It runs no hook.
        let (_, back) = exchange::desk();
        let state = State::new(self.run_limits(), back);
        let store = Store::new(&self.inner.engine, state);
        let program = Program::new(&self.inner.harness, &pre, shape, store)
            .map_err(|error| LoadError::Instantiate(Fault::Unavailable(format!("{error:#}"))))?;
        Ok(Code::Direct(Arc::new(program)))
    }
}

struct Checked<H: 'static> {
    pre: InstancePre<State<H>>,
    /// Set when the compiled component is the one made to run directly.
    shape: Option<Shape>,
    exports: Exports,
    imports: Vec<String>,
    wants: Vec<Want>,
}

fn memory_limit(config: &EngineConfig) -> usize {
    config
        .memory_limit
        .next_multiple_of(WASM_PAGE)
        .max(WASM_PAGE)
}

/// The instances of all workers, and of versions that are being checked.
fn instances(config: &EngineConfig) -> usize {
    let of_worker = config
        .max_concurrent_hooks
        .saturating_add(config.spare_instances);
    let of_workers = config.workers.max(1).saturating_mul(of_worker);
    of_workers.saturating_add(CHECKED_INSTANCES)
}

/// Takes what the machine's address space allows: pooled memories with 4 GiB each, pooled ones with their limit, or none pooled.
fn start(config: &EngineConfig) -> wasmtime::Result<wasmtime::Engine> {
    let count = instances(config) as u64;
    let all = count.saturating_mul(u64::from(MAX_MEMORIES));
    // There is room for all memories that there can be, or at least for those of policies that have one.
    let with_room = MAX_ADDRESS_SPACE / FULL_RESERVATION;
    for memories in [all.min(with_room), count] {
        let full = pooled(&base(), config, memories);
        if count <= with_room
            && let Ok(engine) = wasmtime::Engine::new(&full)
        {
            return Ok(engine);
        }
    }
    let mut small = base();
    small
        .memory_reservation(memory_limit(config) as u64)
        .memory_guard_size(SMALL_GUARD);
    let of_size = |memories| wasmtime::Engine::new(&pooled(&small, config, memories));
    match of_size(all).or_else(|_| of_size(count)) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(
                "no address space for a pool of policy instances, they are made one by one: {error:#}"
            );
            wasmtime::Engine::new(&small)
        }
    }
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES))
        .wasm_component_model(true);
    config
}

fn pooled(base: &Config, config: &EngineConfig, memories: u64) -> Config {
    let count = u32::try_from(instances(config)).unwrap_or(u32::MAX / MAX_CORE_INSTANCES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        // They take no room before they are made.
        .total_core_instances(count.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(u32::try_from(memories).unwrap_or(u32::MAX))
        .total_tables(count.saturating_mul(MAX_TABLES))
        .total_stacks(count)
        .max_memory_size(memory_limit(config))
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10);
    let mut pooled = base.clone();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    pooled
}
