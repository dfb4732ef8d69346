//! Opening what the service stands on: peppers, store, geo databases, prices.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::AppError;
use crate::{
    config::{Config, mask_url},
    domain::{SECOND, policy::OnStoreFailure},
    engine::{DataDirectory, Engine, EngineOptions},
    geo::Geo,
    intake::Peppers,
    pricing::Prices,
    store::{
        Store, StoreControl, StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{RedisOptions, RedisStore},
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Peppers, and where they came from.
pub(super) struct PepperSource {
    pub peppers: Peppers,
    pub origin: String,
}

/// The file that is configured, else `KEYWARD_PEPPER`, else the file that the first start made.
pub(super) fn peppers(config: &Config) -> Result<PepperSource, AppError> {
    if !config.secrets.pepper_file.is_empty() {
        let path = config.secrets.pepper_file.as_ref();
        return Ok(PepperSource { peppers: Peppers::read(path)?, origin: path.display().to_string() });
    }
    if let Some(text) = &config.pepper {
        let origin = "KEYWARD_PEPPER".to_owned();
        return Ok(PepperSource { peppers: Peppers::parse(text.expose())?, origin });
    }
    let path = config.own_pepper_file();
    Ok(PepperSource { peppers: Peppers::read_or_make(&path)?, origin: path.display().to_string() })
}

/// What of that which the service reads at its start cannot be read: peppers, each geo database, prices. Leaves nothing
/// behind: peppers that the first start would make are not made.
pub async fn probe(config: &Config) -> Vec<AppError> {
    let made_at_start = config.secrets.pepper_file.is_empty() && config.pepper.is_none();
    let mut failed = Vec::new();
    if !made_at_start || config.own_pepper_file().exists() {
        failed.extend(peppers(config).err());
    }
    for file in &config.geoip.files {
        failed.extend(databases(vec![file.clone()], false).await.err());
    }
    failed.extend(prices(config).await.err());
    failed
}

/// The store, brought to this version's layout.
///
/// # Errors
/// When it does not answer, is in use, or is not of this version.
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, AppError> {
    let failed = |error| AppError::Store { store: mask_url(&config.store.url), error };
    match config.embedded_directory() {
        Some(directory) => {
            let (directory, options) = (directory.to_owned(), embedded(config));
            let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory, options)).await;
            let opened = opened.map_err(|error| AppError::Internal(error.to_string()))?;
            Ok(Arc::new(opened.map_err(failed)?))
        }
        None => Ok(Arc::new(RedisStore::connect(&config.store.url, redis(config)).await.map_err(failed)?)),
    }
}

/// Where the engine keeps what belongs to this machine, and of which store and peppers that is.
pub(super) fn directory(config: &Config, source: &PepperSource) -> DataDirectory {
    let peppers: Vec<String> =
        source.peppers.fingerprints().map(|(name, print)| format!("{name}={print}")).collect();
    let path = config.data_directory();
    let store = match config.embedded_directory() {
        // The directory may be moved, with the store in it.
        Some(directory) if directory == path => "embedded".to_owned(),
        Some(directory) => format!("embedded:{}", directory.display()),
        None => format!("{} {}", mask_url(&config.store.url), config.store.namespace),
    };
    let identity = format!("{store} {}", peppers.join(","));
    DataDirectory { path, store, identity }
}

/// The engine over the store of the configuration. Where Redis is away, and the policy lets requests pass then, over
/// what a former run knew of it.
pub(super) async fn engine(
    config: &Config,
    peppers: &PepperSource,
    geo: Arc<Geo>,
    options: EngineOptions,
) -> Result<Arc<Engine>, AppError> {
    let away = match reached(config, peppers, geo.clone(), options.clone()).await {
        Ok(engine) => return Ok(engine),
        Err(AppError::Store { error, .. }) if may_begin_without(config, &error) => error,
        Err(error) => return Err(error),
    };
    let failed = |error| AppError::Store { store: mask_url(&config.store.url), error };
    let store = Arc::new(RedisStore::connect_later(&config.store.url, redis(config)).map_err(failed)?);
    let engine = Engine::start_without_store(store, geo, config, options, &away).await.map_err(failed)?;
    engine.ok_or_else(|| failed(away))
}

async fn reached(
    config: &Config,
    peppers: &PepperSource,
    geo: Arc<Geo>,
    options: EngineOptions,
) -> Result<Arc<Engine>, AppError> {
    let store = store(config).await?;
    register(peppers, &*store, config).await?;
    let started = Engine::start(store, geo, config, options).await;
    started.map_err(|error| AppError::Store { store: mask_url(&config.store.url), error })
}

/// Whether the service may start while the store is away: one that others share, which the policy lets requests pass
/// without.
fn may_begin_without(config: &Config, error: &StoreError) -> bool {
    let says = &config.policy.on_store_failure;
    let lets_pass = [says.record, says.check].contains(&OnStoreFailure::Allow);
    config.store_is_shared() && error.is_absence() && lets_pass
}

fn embedded(config: &Config) -> EmbeddedOptions {
    EmbeddedOptions {
        max_subjects: config.cardinality.max_tracked_keys,
        event_retention_days: config.store.event_retention_days,
        profile_retention_days: config.store.profile_retention_days,
        snapshot_seconds: config.store.snapshot_seconds,
        retry_span: config.idempotency.seconds * SECOND,
        usage: config.usage.keep(),
        ..EmbeddedOptions::default()
    }
}

fn redis(config: &Config) -> RedisOptions {
    RedisOptions {
        namespace: config.store.namespace.clone(),
        partitions: config.store.partitions,
        max_events_per_partition: config.store.max_events_per_partition,
        event_retention: DAY * config.store.event_retention_days,
        profile_retention: DAY * config.store.profile_retention_days,
        retry_span: config.idempotency.seconds * SECOND,
        usage: config.usage.keep(),
        ..RedisOptions::default()
    }
}

/// Notes the fingerprint of every pepper in the store, or finds that it knows another one by that name.
async fn register(source: &PepperSource, store: &dyn StoreControl, config: &Config) -> Result<(), AppError> {
    let name_store = || mask_url(&config.store.url);
    for (name, fingerprint) in source.peppers.fingerprints() {
        let noted: Result<_, StoreError> = store.register_pepper(name, &fingerprint).await;
        let other = noted.map_err(|error| AppError::Store { store: name_store(), error })?;
        if other.is_some() {
            let (name, source_of_pepper) = (name.to_owned(), source.origin.clone());
            return Err(AppError::OtherPepper { store: name_store(), name, source_of_pepper });
        }
    }
    Ok(())
}

/// Opens the geo databases of the configuration.
pub(super) async fn geo(config: &Config) -> Result<Arc<Geo>, AppError> {
    Ok(Arc::new(databases(config.geoip.files.clone(), config.geoip.demo).await?))
}

async fn databases(files: Vec<PathBuf>, demo: bool) -> Result<Geo, AppError> {
    let opened = tokio::task::spawn_blocking(move || Geo::open(&files, demo)).await;
    Ok(opened.map_err(|error| AppError::Internal(error.to_string()))??)
}

/// Opens the price list of the configuration, or the one that is built in.
pub(super) async fn prices(config: &Config) -> Result<Arc<Prices>, AppError> {
    let file = config.prices.file().map(Path::to_path_buf);
    let opened = tokio::task::spawn_blocking(move || Prices::open(file.as_deref())).await;
    Ok(Arc::new(opened.map_err(|error| AppError::Internal(error.to_string()))??))
}
