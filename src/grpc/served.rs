//! What the connections serve, and what they may hold together.

use std::sync::Arc;

use tonic::service::Routes;

use super::{
    budget::{Account, Budget},
    check::CheckService,
    limits::Limits,
};

/// What a block of headers takes that has no end, in bytes: as many as there can be of
/// the shortest.
pub(super) const BLOCK_BYTES: usize = 512 * 1024;
/// What the answers may be of all connections: one may have all of it, which is
/// as much as there can be of one.
pub(super) const ANSWERS_BYTES: usize = 6 * 1024 * 1024;
/// What the blocks may be of all connections: eight at a time.
const BLOCKS_BYTES: usize = 8 * BLOCK_BYTES;
/// What a call that lasts takes, in bytes: with what nobody reads of it just
/// now, and a part of an answer.
pub(super) const LASTING_BYTES: usize = 80 * 1024;
/// What those of a connection may take: four at a time.
const LASTING_OF_CONNECTION: usize = 4 * LASTING_BYTES;
/// What those of all connections may take.
const LASTING_OF_ALL: usize = 32 * LASTING_BYTES;

/// What every connection serves, and what they may hold together.
pub(super) struct Services {
    pub(super) check: CheckService,
    /// Health and reflection.
    pub(super) others: Routes,
    pub(super) limits: Limits,
    /// For questions that have yet to come whole.
    pub(super) questions: Arc<Budget>,
    /// For answers that peers do not take.
    pub(super) answers: Arc<Budget>,
    /// For blocks of headers that have no end.
    pub(super) blocks: Arc<Budget>,
    /// For calls of the others that last.
    pub(super) lasting: Arc<Budget>,
}

impl Services {
    /// These, within these limits.
    pub(super) fn new(check: CheckService, others: Routes, limits: Limits) -> Self {
        Self {
            check,
            others,
            limits,
            questions: Budget::new(limits.all_unfinished_bytes),
            answers: Budget::new(ANSWERS_BYTES),
            blocks: Budget::new(BLOCKS_BYTES),
            lasting: Budget::new(LASTING_OF_ALL),
        }
    }
}

/// What one of them serves, and holds.
pub(super) struct Served {
    pub(super) services: Arc<Services>,
    pub(super) questions: Arc<Account>,
    pub(super) lasting: Arc<Account>,
}

impl Served {
    pub(super) fn new(services: Arc<Services>) -> Arc<Self> {
        let questions = services.questions.account(services.limits.unfinished_bytes);
        let lasting = services.lasting.account(LASTING_OF_CONNECTION);
        Arc::new(Self { services, questions, lasting })
    }
}
