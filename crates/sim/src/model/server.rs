//! What the home's server does with the statements in its pipes, one at a time and in any order between sessions.

use super::Model;
use super::promise::{self, Broken};
use super::world::{Phase, Row, Session, Shard, Shards, World};

type Next = Option<World>;

impl Model {
    pub(super) fn serve_worker(&self, world: &World, number: usize) -> Result<Next, Broken> {
        let Some(session) = world.workers[number].session else { return Ok(None) };
        let Some((mut next, session)) = self.serve(world, session)? else { return Ok(None) };
        next.workers[number].session = Some(session);
        Ok(Some(next))
    }

    pub(super) fn serve_orphan(&self, world: &World, number: usize) -> Result<Next, Broken> {
        let Some(session) = world.orphans.get(number).copied() else { return Ok(None) };
        let Some((mut next, session)) = self.serve(world, session)? else { return Ok(None) };
        next.orphans.remove(number);
        if session.is_open() {
            next.orphans.push(session);
            next.orphans.sort();
        }
        Ok(Some(next))
    }

    pub(super) fn end(&self, world: &World, number: usize) -> Next {
        let session = world.workers[number].session.filter(Session::is_open)?;
        let mut next = world.clone();
        next.workers[number].session = Some(Session { phase: Phase::Ended, ..session });
        Some(next)
    }

    pub(super) fn end_orphan(&self, world: &World, number: usize) -> Next {
        (number < world.orphans.len()).then(|| {
            let mut next = world.clone();
            next.orphans.remove(number);
            next
        })
    }

    /// The next statement of a session: first the move with the rows, then COMMIT.
    fn serve(&self, world: &World, session: Session) -> Result<Option<(World, Session)>, Broken> {
        match session.phase {
            Phase::Sent => Ok(self.execute_move(world, session)),
            Phase::Moved(matched) if session.commit_sent => self.commit(world, session, matched).map(Some),
            Phase::Aborted if session.commit_sent => {
                let phase = Phase::Finished { committed: false };
                Ok(Some((world.clone(), Session { phase, ..session })))
            }
            _ => Ok(None),
        }
    }

    /// The move waits for locks, then compares all rows as they then are.
    fn execute_move(&self, world: &World, session: Session) -> Option<(World, Session)> {
        if world.locked().meets(session.shards) {
            return None;
        }
        let matching = |shard: &usize| {
            let stored = world.home[*shard].row.as_ref();
            let expected = session.expected[*shard].as_ref();
            stored.zip(expected).is_some_and(|(stored, expected)| self.matches(*shard, stored, expected))
        };
        let matched = session.shards.each().filter(matching).fold(Shards::NONE, Shards::with);
        let phase = if matched == session.shards || !self.rules.abort { Phase::Moved(matched) } else { Phase::Aborted };
        Some((world.clone(), Session { phase, ..session }))
    }

    /// Rows of every shard of the transaction become durable; the ledger moves where the move had matched.
    fn commit(&self, world: &World, session: Session, matched: Shards) -> Result<(World, Session), Broken> {
        let mut next = world.clone();
        let mut moved = Ok(());
        for shard in session.shards.each() {
            apply(&mut next.home[shard], &session, shard);
            if matched.has(shard) {
                moved = moved.and(move_row(&mut next.home[shard], &session, shard));
            }
        }
        // A record that is lost or repeated says more than that its transaction should not have been.
        promise::check(&next)?;
        moved?;
        Ok((next, Session { phase: Phase::Finished { committed: true }, ..session }))
    }
}

fn apply(stored: &mut Shard, session: &Session, shard: usize) {
    let ends = |row: Option<Row>| row.and_then(|row| row.next).expect("a session knows its span");
    for record in ends(session.expected[shard])..ends(session.moved[shard]) {
        stored.applied[usize::from(record)] += 1;
    }
}

fn move_row(stored: &mut Shard, session: &Session, shard: usize) -> Result<(), Broken> {
    let before = stored.row;
    stored.row = session.moved[shard];
    if stored.owner != Some(session.life) {
        return Err(Broken::NotTheOwner { shard });
    }
    if session.overtaken {
        return Err(Broken::AnswerOvertaken { shard });
    }
    let one_step = before.zip(stored.row).is_some_and(|(a, b)| a.next <= b.next && a.epoch + 1 == b.epoch);
    if one_step { Ok(()) } else { Err(Broken::WentBack { shard }) }
}
