//! The management controller and its command line
