//! Medians and ratios.

/// The middle of the values, which need no order; with an even number of them the mean of the two in the middle. `None`: there is no value.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    let lower = sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(*lower, *upper))
}

/// The value that this share of the sorted values does not exceed; `None`: there is no value.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
    sorted.get(at).copied()
}

/// The median of the ratios of neighbours: what makes the machine slower or faster for a while makes both of them so and drops out.
pub(crate) fn ratio_of_neighbours(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let pairs = ours.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0);
    let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
    median(&ratios)
}

/// Half the distance between the largest and the smallest, over the median: how much the runs differ. `None`: there is no value.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let largest = values.iter().copied().max_by(f64::total_cmp)?;
    let smallest = values.iter().copied().min_by(f64::total_cmp)?;
    Some((largest - smallest) / 2.0 / median(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn percentiles_go_from_the_first_to_the_last() {
        let values: Vec<u64> = (0..=100).collect();
        assert_eq!(percentile(&values, 0.0), Some(0));
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&values, 1.0), Some(100));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_slow_minute_of_the_machine_does_not_change_the_ratio() {
        let (ours, theirs) = ([10.0, 30.0, 10.0], [20.0, 60.0, 20.0]);
        assert_eq!(ratio_of_neighbours(&ours, &theirs), Some(0.5));
        assert_eq!(ratio_of_neighbours(&ours, &[]), None);
    }

    #[test]
    fn the_spread_is_relative() {
        assert_eq!(spread(&[90.0, 100.0, 110.0]), Some(0.1));
        assert_eq!(spread(&[]), None);
    }
}
