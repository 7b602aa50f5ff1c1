//! A store with a replica that lags behind, and what can become of the two.

use std::{fmt::Debug, hash::Hash};

/// What a node holds.
pub trait Data: Clone + Debug + Default + Eq + Hash {
    /// A change of it, as it is sent to the replica.
    type Change: Clone + Debug + Eq + Hash;

    /// Takes a change over.
    fn apply(&mut self, change: &Self::Change);
}

/// Which node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The one that all the others take for the master.
    Master,
    /// The former master, which lives, and has not heard of it.
    Former,
}

/// How a replica takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failover {
    /// It has all that was written, and the former master knows: as an operator does it.
    Whole,
    /// The master is gone, and with it what was not replicated.
    Crash,
    /// The same, told by a redirection: no client sees an error.
    Unseen,
    /// The former master goes on answering whoever has not heard of the new one.
    Split,
}

/// What may happen to the store in a run of the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// So many failovers.
    pub failovers: u8,
    /// What is not replicated may be lost in one.
    pub loses: bool,
    /// A failover may be seen by nobody.
    pub unseen: bool,
    /// The former master may go on answering.
    pub splits: bool,
    /// So many times it cannot be reached for a while.
    pub outages: u8,
    /// The clock of the second node is so much behind.
    pub behind: u8,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store<D: Data> {
    /// What the master holds.
    pub master: D,
    /// What its replica holds.
    pub replica: D,
    /// What the master has written and the replica has not.
    pub pending: Vec<D::Change>,
    /// A former master that still answers.
    pub former: Option<D>,
    /// Whether it can be reached.
    pub answers: bool,
    /// How many failovers are to come. What is written after the last one need not be
    /// replicated: nobody would see whether it was.
    pub to_come: u8,
    /// How many failovers there were: which node it is, and which history.
    pub failovers: u8,
    /// How many outages there were.
    pub outages: u8,
}

/// What happens to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The replica takes the oldest change over.
    Replicate,
    /// Nothing reaches it from now on.
    Leave,
    /// It can be reached again.
    Return,
    /// The replica takes over.
    FailOver(Failover),
    /// The former master hears of it, and becomes the new one's replica.
    StepDown,
}

impl<D: Data> Store<D> {
    /// An empty one, which may suffer this.
    pub fn new(faults: Faults) -> Self {
        Self {
            master: D::default(),
            replica: D::default(),
            pending: Vec::new(),
            former: None,
            answers: true,
            to_come: faults.failovers,
            failovers: 0,
            outages: 0,
        }
    }

    /// What may happen to it now.
    pub fn events(&self, faults: Faults, mut tell: impl FnMut(Event)) {
        if !self.pending.is_empty() {
            tell(Event::Replicate);
        }
        if !self.answers {
            tell(Event::Return);
        } else if self.outages < faults.outages {
            tell(Event::Leave);
        }
        if self.former.is_some() {
            tell(Event::StepDown);
        } else if self.to_come > 0 {
            if self.pending.is_empty() {
                tell(Event::FailOver(Failover::Whole));
            }
            if faults.loses {
                tell(Event::FailOver(Failover::Crash));
            }
            if faults.unseen {
                tell(Event::FailOver(Failover::Unseen));
            }
            if faults.splits {
                tell(Event::FailOver(Failover::Split));
            }
        }
    }

    /// Lets it happen.
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Replicate => {
                let change = self.pending.remove(0);
                self.replica.apply(&change);
            }
            Event::Leave => {
                self.answers = false;
                self.outages += 1;
            }
            Event::Return => self.answers = true,
            Event::FailOver(how) => {
                self.failovers += 1;
                self.to_come -= 1;
                self.pending.clear();
                std::mem::swap(&mut self.master, &mut self.replica);
                match how {
                    // It comes back as a replica, with what the new one has.
                    Failover::Whole | Failover::Crash | Failover::Unseen => {
                        self.replica = self.master.clone();
                    }
                    Failover::Split => {
                        let former = std::mem::replace(&mut self.replica, self.master.clone());
                        self.former = Some(former);
                    }
                }
            }
            Event::StepDown => self.former = None,
        }
    }

    /// What a node holds.
    pub fn at(&self, node: Node) -> &D {
        match node {
            Node::Master => &self.master,
            Node::Former => self.former.as_ref().unwrap_or(&self.master),
        }
    }

    /// Changes what a node holds.
    pub fn change(&mut self, node: Node, change: D::Change) {
        if let (Node::Former, Some(former)) = (node, &mut self.former) {
            former.apply(&change);
            return;
        }
        self.master.apply(&change);
        if self.to_come > 0 {
            self.pending.push(change);
        }
    }

    /// The nodes that answer as masters.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        let master = self.answers.then_some(Node::Master);
        master.into_iter().chain(self.former.is_some().then_some(Node::Former))
    }

    /// The second as that node's clock has it: the second one's is behind.
    pub fn clock(&self, node: Node, now: u8, faults: Faults) -> u8 {
        let is_second = match node {
            Node::Master => self.failovers % 2 == 1,
            Node::Former => self.failovers.is_multiple_of(2),
        };
        if is_second { now.saturating_sub(faults.behind) } else { now }
    }
}
