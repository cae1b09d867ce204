//! Every scenario: to the end, again, killed everywhere.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test tells what it did")]

use naru_simulate::FaultKind;
use naru_simulate::campaign::Case;
use naru_simulate::scenario;

#[test]
fn to_the_end_and_again() {
    for scenario in scenario::all() {
        let began = std::time::Instant::now();
        let case = Case::new(&scenario, 1, true).unwrap();
        println!("{}: {} points, {:?} {:?}", scenario.name, case.points, case.totals, began.elapsed());
    }
}

#[test]
fn killed_everywhere() {
    for scenario in scenario::all() {
        let began = std::time::Instant::now();
        let mut case = Case::new(&scenario, 1, false).unwrap();
        for point in 0..case.points {
            case.hit(FaultKind::Kill, point).unwrap();
        }
        println!("{}: {} points, {:?} {:?}", scenario.name, case.points, case.totals, began.elapsed());
    }
}
