//! The graph of files, its circles, and the arrows to cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::arrows::Arrow;

/// For each file, the files it names and the number of items it names there.
#[derive(Clone, Default)]
pub struct Graph<'a>(BTreeMap<&'a str, BTreeMap<&'a str, usize>>);

impl<'a> Graph<'a> {
    pub fn of(arrows: &[Arrow<'a>]) -> Self {
        let mut graph = Self::default();
        for arrow in arrows {
            *graph.0.entry(arrow.from).or_default().entry(arrow.to).or_default() += 1;
        }
        graph
    }

    fn named_by(&self, file: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(file).into_iter().flat_map(|named| named.keys().copied())
    }

    /// The groups of files in which every file needs, directly or not, every other.
    pub fn circles(&self) -> Vec<BTreeSet<&'a str>> {
        let reached: BTreeMap<_, _> = self.0.keys().map(|file| (*file, self.reached_from(file))).collect();
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
        let on_circle = reached.keys().filter(|file| reaches(file, file));
        let groups = on_circle.map(|file| reached[file].iter().copied().filter(|other| reaches(other, file)).collect());
        groups.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn reached_from(&self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = self.named_by(file).collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(self.named_by(file));
            }
        }
        reached
    }

    /// The arrows between `files` only.
    pub fn within(&self, files: &BTreeSet<&str>) -> Self {
        let mut part = self.clone();
        part.0.retain(|from, _| files.contains(from));
        part.0.values_mut().for_each(|named| named.retain(|to, _| files.contains(to)));
        part
    }

    fn without(&self, from: &str, to: &str) -> Self {
        let mut rest = self.clone();
        if let Some(named) = rest.0.get_mut(from) {
            named.remove(to);
        }
        rest
    }

    /// Arrows to cut, as (from, to), so that no circle is left.
    ///
    /// Each step cuts the arrow that leaves the fewest files in circles; among equals, the one with the fewest items.
    /// If cutting one arrow is enough, that one is found; otherwise this may cut more than necessary.
    pub fn cuts(&self) -> BTreeSet<(&'a str, &'a str)> {
        let mut rest = self.clone();
        let mut cuts = BTreeSet::new();
        loop {
            let circles = rest.circles();
            if circles.is_empty() {
                return cuts;
            }
            let arrows = circles.iter().flat_map(|circle| rest.within(circle).arrows());
            let Some((from, to, _)) =
                arrows.min_by_key(|(from, to, items)| (rest.without(from, to).files_in_circles(), *items))
            else {
                return cuts;
            };
            rest = rest.without(from, to);
            cuts.insert((from, to));
        }
    }

    /// All arrows: (from, to, number of items).
    fn arrows(&self) -> Vec<(&'a str, &'a str, usize)> {
        let arrows = self.0.iter().flat_map(|(from, named)| named.iter().map(|(to, items)| (*from, *to, *items)));
        arrows.collect()
    }

    /// The number of files in circles.
    fn files_in_circles(&self) -> usize {
        self.circles().iter().map(BTreeSet::len).sum()
    }

    /// The shortest path between two files, with both ends; empty if there is none.
    pub fn path(&self, from: &'a str, to: &str) -> Vec<&'a str> {
        let mut paths = VecDeque::from([vec![from]]);
        let mut seen = BTreeSet::from([from]);
        while let Some(path) = paths.pop_front() {
            let last = path[path.len() - 1];
            if last == to {
                return path;
            }
            let next = self.named_by(last).filter(|file| seen.insert(file));
            paths.extend(next.map(|file| [path.as_slice(), &[file]].concat()));
        }
        Vec::new()
    }
}
