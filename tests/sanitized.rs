//! Mistakes on purpose, which AddressSanitizer must find before what it does not find in the library
//! means anything: `make asan` asks for each of them by CVX_PLANTED. Otherwise there are none.

use cogvideox as _;
use std::hint::black_box;

/// Not a test of its own: see above.
#[test]
fn planted() {
    let numbers = black_box(vec![7u64; 16]);
    let place = numbers.as_ptr();
    match std::env::var("CVX_PLANTED").as_deref() {
        Ok("rust:freed") => {
            drop(numbers);
            // SAFETY: none: it is what is to be found.
            black_box(unsafe { place.add(3).read() });
        }
        Ok("rust:overflow") => {
            // SAFETY: none: it is what is to be found.
            black_box(unsafe { place.add(black_box(16)).read() });
        }
        _ => {}
    }
}
