//! Packing of sequences into rows of bounded length, by best fit decreasing (arXiv:2404.10830): the
//! longest sequence first, each in the row that it leaves the least room in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// Packs sequences of these lengths, in tokens, into rows of at most `capacity` tokens; each row is a
/// list of places in `lengths`. The same lengths always give the same rows: of equal sequences the
/// first goes first, into the row that has had that room for longest, as in TRL.
///
/// # Panics
/// When a sequence is longer than a row.
pub fn pack(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..lengths.len()).collect();
    places.sort_by_key(|place| Reverse(lengths[*place]));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows by the room that is left in them.
    let mut rooms: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for place in places {
        let length = lengths[place];
        assert!(
            length <= capacity,
            "a sequence of {length} tokens for rows of {capacity}"
        );
        let fitting = rooms.range(length..).next().map(|(room, _)| *room);
        let (row, room) = match fitting.and_then(|room| take_row(&mut rooms, room)) {
            Some(row) => row,
            None => {
                rows.push(Vec::new());
                (rows.len() - 1, capacity)
            }
        };
        rows[row].push(place);
        rooms.entry(room - length).or_default().push_back(row);
    }
    rows
}

/// Takes out the first row with exactly this room.
fn take_row(rooms: &mut BTreeMap<usize, VecDeque<usize>>, room: usize) -> Option<(usize, usize)> {
    let rows = rooms.get_mut(&room)?;
    let row = rows.pop_front()?;
    if rows.is_empty() {
        rooms.remove(&room);
    }
    Some((row, room))
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn each_sequence_goes_where_it_leaves_the_least_room() {
        // Rows of 10, longest first: 7 and 6 leave 3 and 4; 4 and 3 fill them; 2 and 1 share a third.
        let lengths = [2, 6, 3, 7, 1, 4];
        assert_eq!(pack(&lengths, 10), [vec![3, 2], vec![1, 5], vec![0, 4]]);
        // 8 leaves 2, which is too little for 3; 5 and 5 fill a row.
        assert_eq!(pack(&[5, 8, 3, 5], 10), [vec![1], vec![0, 3], vec![2]]);
        // Rows of 20: 13 leaves 7, 10 and 8 leave 2; first fit would put 2 beside 13.
        assert_eq!(pack(&[13, 10, 8, 2], 20), [vec![0], vec![1, 2, 3]]);
    }

    #[test]
    fn of_equal_rooms_the_oldest_is_filled_first() {
        assert_eq!(pack(&[6, 6, 4, 4], 10), [vec![0, 2], vec![1, 3]]);
        assert_eq!(
            pack(&[6, 6, 2, 2, 2, 2], 10),
            [vec![0, 2, 3], vec![1, 4, 5]]
        );
    }

    #[test]
    fn no_sequence_is_lost_or_split_and_no_row_too_long() {
        let mut rng = Seed::new(7).rng();
        let lengths: Vec<usize> = (0..500).map(|_| rng.random_range(1..=64)).collect();
        let rows = pack(&lengths, 64);
        let total = |row: &Vec<usize>| row.iter().map(|place| lengths[*place]).sum::<usize>();
        assert!(rows.iter().all(|row| !row.is_empty() && total(row) <= 64));
        let mut places: Vec<usize> = rows.concat();
        places.sort_unstable();
        assert_eq!(places, (0..500).collect::<Vec<_>>());
        // No two rows could be one, or best fit would have made them one.
        let mut totals: Vec<usize> = rows.iter().map(total).collect();
        totals.sort_unstable();
        assert!(totals[0] + totals[1] > 64);
    }

    #[test]
    fn no_sequences_make_no_rows() {
        assert!(pack(&[], 8).is_empty());
    }

    #[test]
    #[should_panic(expected = "a sequence of 9 tokens for rows of 8")]
    fn a_sequence_longer_than_a_row_is_a_mistake_of_the_caller() {
        pack(&[9], 8);
    }
}
