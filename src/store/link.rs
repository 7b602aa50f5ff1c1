//! A connection to Redis that is made when it is needed, and made anew when
//! it has failed.

use std::{fmt, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelServerType},
};
use tokio::sync::Mutex;

use super::StoreError;

/// Where Redis is. The addresses may hold passwords: it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// One server.
    Single(String),
    /// Some nodes of a cluster.
    Cluster(Vec<String>),
    /// Sentinels, and the name of the master that they watch.
    Sentinel(Vec<String>, String),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
            Self::Sentinel(..) => "Sentinel",
        })
    }
}

enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Box<Mutex<SentinelClient>>),
}

#[derive(Clone)]
enum Connection {
    Direct(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The link to Redis, shared by all tasks.
pub(super) struct Link {
    connector: Connector,
    /// The connection, and how many there were before it.
    current: Mutex<(u64, Option<Connection>)>,
    timeout: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(target: &Target, timeout: Duration) -> Result<Self, StoreError> {
        let connector = match target {
            Target::Single(url) => {
                Client::open(url.as_str()).map(|client| Connector::Single(Box::new(client)))
            }
            Target::Cluster(urls) => ClusterClient::builder(urls.iter().map(String::as_str))
                // A call that fails is an error at once: who asked decides.
                .retries(1)
                .connection_timeout(timeout)
                .response_timeout(timeout)
                .build()
                .map(|client| Connector::Cluster(Box::new(client))),
            Target::Sentinel(urls, master) => SentinelClient::build(
                urls.iter().map(String::as_str).collect(),
                master.clone(),
                None,
                SentinelServerType::Master,
            )
            .map(|client| Connector::Sentinel(Box::new(Mutex::new(client)))),
        };
        Ok(Self {
            connector: connector.map_err(|error| failed(&error))?,
            current: Mutex::new((0, None)),
            timeout,
        })
    }

    /// Sends a command, and waits for its answer no longer than the timeout,
    /// with the time in it that a new connection takes.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.within(self.send_unbounded(command)).await
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.timeout, call).await.unwrap_or(Err(StoreError::TimedOut))
    }

    async fn send_unbounded(&self, command: &Cmd) -> Result<Value, StoreError> {
        let (generation, mut connection) = self.connection().await?;
        // Forgotten unless the answer comes: dropped by the timeout, it is
        // not known whether the connection still works.
        let forget = Forget { link: self, generation, armed: true };
        let answer = match &mut connection {
            Connection::Direct(direct) => direct.req_packed_command(command).await,
            Connection::Cluster(cluster) => cluster.req_packed_command(command).await,
        };
        match answer.and_then(Value::extract_error) {
            Ok(value) => {
                forget.disarm();
                Ok(value)
            }
            Err(error) => Err(failed(&error)),
        }
    }

    async fn connection(&self) -> Result<(u64, Connection), StoreError> {
        let mut current = self.current.lock().await;
        if let (generation, Some(connection)) = &*current {
            return Ok((*generation, connection.clone()));
        }
        let connection = self.connect().await.map_err(|error| failed(&error))?;
        let generation = current.0 + 1;
        *current = (generation, Some(connection.clone()));
        Ok((generation, connection))
    }

    async fn connect(&self) -> RedisResult<Connection> {
        // Its own timeouts would cut a longer one of ours short.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(None);
        Ok(match &self.connector {
            Connector::Single(client) => Connection::Direct(
                client.get_multiplexed_async_connection_with_config(&config).await?,
            ),
            Connector::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            Connector::Sentinel(client) => {
                let mut client = client.lock().await;
                Connection::Direct(client.get_async_connection_with_config(&config).await?)
            }
        })
    }
}

/// Drops the connection of a generation, unless it is disarmed.
struct Forget<'a> {
    link: &'a Link,
    generation: u64,
    armed: bool,
}

impl Forget<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        // Somebody who holds the lock is looking for a connection: then the
        // next failure forgets this one.
        if self.armed
            && let Ok(mut current) = self.link.current.try_lock()
            && current.0 == self.generation
        {
            current.1 = None;
        }
    }
}

/// Redis' own code or the kind of an error, and what the connection said: an
/// answer's text may quote a command.
pub(super) fn failed(error: &RedisError) -> StoreError {
    StoreError::Failed(match error.code() {
        Some(code) => code.to_owned(),
        None if error.is_io_error() => error.to_string(),
        None => format!("{:?}", error.kind()),
    })
}
