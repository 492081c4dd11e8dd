//! Where the primary is, and whether a server is one.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, Value};
use std::time::Duration;
use tokio::time::timeout;

/// Where the primary is: at an address, or where Sentinels say.
pub(crate) enum Source {
    Address(Box<ConnectionInfo>),
    Sentinels(Sentinels),
}

/// Servers that say where the primary is.
pub(crate) struct Sentinels {
    /// All of the primary's address but host and port.
    info: Box<ConnectionInfo>,
    name: String,
    clients: Vec<Client>,
    /// The one that has answered last.
    answers: Option<MultiplexedConnection>,
}

/// Where a primary is.
pub(crate) type Place = (String, u16);

impl Source {
    /// Returns the address of the primary, and where that is, if Sentinels have said so.
    pub async fn primary(
        &mut self,
        patience: Duration,
    ) -> Result<(ConnectionInfo, Option<Place>), RedisError> {
        match self {
            Self::Address(info) => Ok(((**info).clone(), None)),
            Self::Sentinels(sentinels) => {
                let place = sentinels.place(patience).await?;
                let info = info_at(&sentinels.info, &place);
                Ok((info, Some(place)))
            }
        }
    }

    /// Whether Sentinels say that the primary is not at this place any more. If none answers, then
    /// none says so.
    pub async fn has_moved(&mut self, from: &Place, patience: Duration) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Sentinels(sentinels) => {
                sentinels.place(patience).await.is_ok_and(|place| place != *from)
            }
        }
    }
}

impl Sentinels {
    pub fn new(info: ConnectionInfo, name: &str, clients: Vec<Client>) -> Self {
        Self { info: Box::new(info), name: name.to_owned(), clients, answers: None }
    }

    /// Asks the Sentinel that has answered last; if it does not, all, in turn, each no longer than
    /// this. Who is asked goes to the end of the list, so that one that is silent does not come
    /// first again if the caller has given up.
    async fn place(&mut self, patience: Duration) -> Result<Place, RedisError> {
        if let Some(connection) = self.answers.take()
            && let Ok(place) = self.ask(connection, patience).await
        {
            return Ok(place);
        }
        let mut last = error("there are no Sentinels");
        for _ in 0..self.clients.len() {
            self.clients.rotate_left(1);
            let Some(client) = self.clients.last() else { break };
            let config = AsyncConnectionConfig::new().set_connection_timeout(Some(patience));
            let connect = client.get_multiplexed_async_connection_with_config(&config);
            let asked = match connect.await {
                Ok(connection) => self.ask(connection, patience).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(place) => return Ok(place),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(
        &mut self,
        mut connection: MultiplexedConnection,
        patience: Duration,
    ) -> Result<Place, RedisError> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let answer = timeout(patience, command.query_async(&mut connection)).await;
        let place: Option<Place> = answer.map_err(|_| crate::read::late())??;
        let place = place.ok_or_else(|| error("the Sentinel knows no primary of that name"))?;
        self.answers = Some(connection);
        Ok(place)
    }
}

/// The same address, at another host and port.
pub(crate) fn info_at(info: &ConnectionInfo, (host, port): &Place) -> ConnectionInfo {
    let (host, port) = (host.clone(), *port);
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

fn error(message: &'static str) -> RedisError {
    (redis::ErrorKind::Client, message).into()
}

/// Has a server tell this connection of changes, and asks it what it is, as `be_primary`.
pub(crate) async fn begin(
    connection: &mut MultiplexedConnection,
    of_cluster: bool,
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    pipe.cmd("HELLO").cmd("CLIENT").arg("TRACKING").arg("ON").ignore();
    let (hello,): (Value,) = pipe.query_async(connection).await?;
    is_of_primary(&hello, of_cluster)
}

/// Asks a server what it is. The reply comes after the pushes of all that the server did before.
///
/// A server that is made a replica keeps its connections, and says nothing. From then on it is
/// behind by an amount that nobody tells. So it counts as gone.
pub(crate) async fn be_primary(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    is_of_primary(&redis::cmd("HELLO").query_async(connection).await?, false)
}

fn is_of_primary(hello: &Value, of_cluster: bool) -> Result<(), RedisError> {
    let Value::Map(fields) = hello else {
        return Err(error("the answer to HELLO is no map"));
    };
    let field = |name: &str| {
        fields.iter().find_map(|(key, value)| match (key, value) {
            (Value::BulkString(key), Value::BulkString(value)) if key == name.as_bytes() => {
                Some(&value[..])
            }
            _ => None,
        })
    };
    match (field("mode"), field("role")) {
        (Some(b"cluster"), _) if !of_cluster => {
            Err(error("the server is part of a cluster: call `Builder::cluster`"))
        }
        (Some(b"sentinel"), _) => Err(error("the server is a Sentinel")),
        (_, Some(b"master")) => Ok(()),
        _ => Err(error("the server is a replica")),
    }
}
