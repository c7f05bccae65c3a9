//! Laws of the small values: digests do not know order, spans do, and what is written can be read.

use onceflow_core::{
    ChainHash, Consumed, Counts, Digest, Epoch, Fingerprint, Nonce, PipelineId, Position, Seal, ShardId, Span,
};
use proptest::prelude::*;

use super::values::partition;

fn digest(hashes: &[u128]) -> Digest {
    let mut digest = Digest::EMPTY;
    hashes.iter().for_each(|hash| digest.add(*hash));
    digest
}

fn span(from: u64, to: u64) -> Span {
    Span::new(Position::new(from), Position::new(to)).expect("from lies before to")
}

fn consumed(number: usize, from: u64, to: u64, hashes: &[u128]) -> Consumed {
    Consumed {
        partition: partition(number),
        span: span(from, to),
        digest: digest(hashes),
        leader_epoch: None,
        tail: None,
    }
}

proptest! {
    #[test]
    fn a_digest_does_not_depend_on_order_or_on_where_it_was_cut(
        hashes in proptest::collection::vec(any::<u128>(), 0..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        seed in any::<prop::sample::Index>(),
    ) {
        let whole = digest(&hashes);
        let mut turned = hashes.clone();
        if !turned.is_empty() {
            let by = seed.index(turned.len());
            turned.rotate_left(by);
            turned.reverse();
        }
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(turned.len() + 1)).collect();
        at.extend([0, turned.len()]);
        at.sort_unstable();
        let mut parts: Vec<Digest> = at.windows(2).map(|pair| digest(&turned[pair[0]..pair[1]])).collect();
        parts.reverse();
        let mut merged = Digest::EMPTY;
        parts.into_iter().for_each(|part| merged.merge(part));
        prop_assert_eq!(merged, whole);
        prop_assert_eq!(whole.count(), u64::try_from(hashes.len()).expect("few"));
    }

    #[test]
    fn a_digest_notices_a_record_that_is_missing_or_repeated(
        hashes in proptest::collection::vec(1_u128.., 1..40),
        which in any::<prop::sample::Index>(),
    ) {
        let whole = digest(&hashes);
        let at = which.index(hashes.len());
        let mut fewer = hashes.clone();
        let taken = fewer.remove(at);
        prop_assert_ne!(digest(&fewer), whole);
        let mut more = hashes.clone();
        more.push(taken);
        prop_assert_ne!(digest(&more), whole);
        // Also where the number of records is the same.
        let mut other = fewer;
        other.push(taken.wrapping_add(1));
        prop_assert_ne!(digest(&other), whole);
    }

    #[test]
    fn spans_join_exactly_where_they_touch(a in 0_u64..50, b in 0_u64..50, c in 0_u64..50, d in 0_u64..50) {
        let first = Span::new(Position::new(a), Position::new(b));
        let second = Span::new(Position::new(c), Position::new(d));
        prop_assert_eq!(first.is_some(), a <= b);
        if let (Some(first), Some(second)) = (first, second) {
            let joined = first.join(second);
            prop_assert_eq!(joined.is_some(), b == c);
            if let Some(joined) = joined {
                prop_assert_eq!((joined.from().get(), joined.to().get()), (a, d));
            }
            prop_assert_eq!(first.is_empty(), a == b);
            prop_assert_eq!(first.join(Span::empty(first.to())), Some(first));
            prop_assert_eq!(Span::empty(first.from()).join(first), Some(first));
        }
    }

    #[test]
    fn joining_spans_is_associative(cuts in proptest::collection::vec(0_u64..1000, 4..5)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let [a, b, c] = [span(cuts[0], cuts[1]), span(cuts[1], cuts[2]), span(cuts[2], cuts[3])];
        let left = a.join(b).and_then(|ab| ab.join(c));
        let right = b.join(c).and_then(|bc| a.join(bc));
        prop_assert_eq!(left, right);
        prop_assert_eq!(left, Some(span(cuts[0], cuts[3])));
    }

    #[test]
    fn what_is_written_can_be_read(bits in any::<u128>(), bytes in any::<[u8; 32]>(), count in any::<u64>()) {
        let chain = ChainHash::new(bytes);
        prop_assert_eq!(ChainHash::parse(&chain.to_string()), Some(chain));
        prop_assert_eq!(Nonce::parse(&Nonce::new(bits).to_string()), Some(Nonce::new(bits)));
        prop_assert_eq!(Fingerprint::parse(&Fingerprint::new(bits).to_string()), Some(Fingerprint::new(bits)));
        prop_assert_eq!(PipelineId::parse(&PipelineId::new(bits).to_string()), Some(PipelineId::new(bits)));
        let digest = Digest::new(bits, count);
        prop_assert_eq!(Digest::parse(&digest.to_string(), count), Some(digest));
    }

    #[test]
    fn text_that_nobody_wrote_is_not_read(text in "\\PC{0,70}") {
        let reads_back = |read: Option<String>| read.is_none_or(|read| read.eq_ignore_ascii_case(&text));
        prop_assert!(reads_back(ChainHash::parse(&text).map(|chain| chain.to_string())), "chain hash {}", text);
        prop_assert!(reads_back(Nonce::parse(&text).map(|nonce| nonce.to_string())), "nonce {}", text);
        prop_assert!(reads_back(Fingerprint::parse(&text).map(|print| print.to_string())), "fingerprint {}", text);
    }

    #[test]
    fn signs_and_spaces_are_no_digits(digits in "[0-9a-f]{31}", hash in "[0-9a-f]{62}", place in any::<prop::sample::Index>()) {
        for sign in ["+", "-", " ", "_"] {
            let mut text = digits.clone();
            text.insert_str(place.index(32), sign);
            prop_assert_eq!(Nonce::parse(&text), None, "{}", text);
            prop_assert_eq!(Fingerprint::parse(&text), None, "{}", text);
            let mut text = hash.clone();
            text.insert_str(place.index(31) * 2, &format!("{sign}1"));
            prop_assert_eq!(ChainHash::parse(&text), None, "{}", text);
        }
    }

    #[test]
    fn a_fingerprint_tells_every_field_apart(
        offset in any::<u64>(),
        timestamp in proptest::option::of(any::<i64>()),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)),
        other_offset in any::<u64>(),
        other_timestamp in proptest::option::of(any::<i64>()),
        other_key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)),
        other_value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)),
    ) {
        let print = |o, t, k: &Option<Vec<u8>>, v: &Option<Vec<u8>>| Fingerprint::of_record(o, t, k.as_deref(), v.as_deref());
        let this = print(offset, timestamp, &key, &value);
        let others = [
            (print(other_offset, timestamp, &key, &value), other_offset == offset),
            (print(offset, other_timestamp, &key, &value), other_timestamp == timestamp),
            (print(offset, timestamp, &other_key, &value), other_key == key),
            (print(offset, timestamp, &key, &other_value), other_value == value),
            (print(offset, timestamp, &value, &key), key == value),
        ];
        for (other, same) in others {
            prop_assert_eq!(other == this, same);
        }
    }

    #[test]
    fn the_chain_covers_everything_in_an_epoch(
        chain in any::<[u8; 32]>(),
        epoch in 1_u64..1000,
        from in 0_u64..100,
        hashes in proptest::collection::vec(any::<u128>(), 1..5),
    ) {
        let (chain, shard) = (ChainHash::new(chain), ShardId::new("a"));
        let to = from + 10;
        let seal = Seal::of(&Counts::default(), &[]);
        let part = consumed(0, from, to, &hashes);
        let next = |chain: &ChainHash, epoch, parts: &[&Consumed], seal| chain.next(&shard, Epoch::new(epoch), parts, seal);
        let this = next(&chain, epoch, &[&part], &seal);
        let mut flipped = *chain.bytes();
        flipped[31] ^= 1;
        let mut fewer = hashes.clone();
        fewer.pop();
        let other_seal = Seal::of(&Counts { records: 1, used: 1, ..Counts::default() }, &[]);
        let others = [
            next(&ChainHash::new(flipped), epoch, &[&part], &seal),
            next(&chain, epoch + 1, &[&part], &seal),
            next(&chain, epoch, &[], &seal),
            next(&chain, epoch, &[&consumed(1, from, to, &hashes)], &seal),
            next(&chain, epoch, &[&consumed(0, from + 1, to, &hashes)], &seal),
            next(&chain, epoch, &[&consumed(0, from, to + 1, &hashes)], &seal),
            next(&chain, epoch, &[&consumed(0, from, to, &fewer)], &seal),
            next(&chain, epoch, &[&part, &consumed(1, 0, 0, &[])], &seal),
            next(&chain, epoch, &[&part], &other_seal),
            chain.next(&ShardId::new("b"), Epoch::new(epoch), &[&part], &seal),
        ];
        prop_assert!(others.iter().all(|other| *other != this));
        prop_assert_eq!(next(&chain, epoch, &[&part], &seal), this);
    }
}

#[test]
fn what_is_absent_differs_from_what_is_empty() {
    let prints = [
        Fingerprint::of_record(1, None, None, None),
        Fingerprint::of_record(1, Some(0), None, None),
        Fingerprint::of_record(1, None, Some(b""), None),
        Fingerprint::of_record(1, None, None, Some(b"")),
        Fingerprint::of_record(1, None, Some(b""), Some(b"")),
    ];
    for (at, print) in prints.iter().enumerate() {
        assert!(!prints[..at].contains(print), "number {at} is as an earlier one");
    }
}
