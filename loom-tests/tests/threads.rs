//! The models on real threads (see `loom_tests`), in one program. `COEVAL_DEFECT` names the defect
//! that the library is to have; then the tests of that defect fail.
#![cfg(all(coeval_internals, not(coeval_loom)))]

loom_tests::all_models!();
