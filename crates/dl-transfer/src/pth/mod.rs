//! PyTorch's `torch.save` files, read without Python and without running anything.
//!
//! A `.pth` file is a pickle, a program that may call any Python function. Here a small
//! interpreter runs it that can build plain data and describe tensors, and refuses everything
//! else by name. Both containers are read: the legacy one (PyTorch before 1.6) and the zip one.

pub(crate) mod error;
pub(crate) mod legacy;
pub(crate) mod object;
pub(crate) mod pickle;
pub(crate) mod pth_contents;
pub(crate) mod tensor_view;
pub(crate) mod zip_archive;

pub use error::PthError;
