//! The image library as the controller looks at it. A folder is read whenever somebody asks. Of a
//! registry the list is kept and asked for anew from time to time: the balancer looks at it in every
//! round, and a registry that is away for a while is no reason to stop.

use std::sync::{Arc, PoisonError, RwLock};

use repave_image_codec::{Images, Library, LibraryError, Registry};
use repave_protocol::ImageReference;

use crate::library_place::{LibraryPlace, RegistryFileError, RegistryFiles};

/// An image library.
#[derive(Clone)]
pub enum Shelf {
    /// In a folder.
    Folder(Library),
    /// In a registry.
    Registry(Arc<RemoteShelf>),
}

/// A library in a registry, and what it listed last.
pub struct RemoteShelf {
    registry: Registry,
    images: RwLock<Option<Vec<ImageReference>>>,
}

impl Shelf {
    /// The library at `place`; an empty one is made of a folder that is not there yet.
    pub fn open(place: &LibraryPlace, files: &RegistryFiles) -> Result<Self, ShelfError> {
        Ok(match place {
            LibraryPlace::Folder(path) => Self::Folder(Library::open_or_create(path)?),
            LibraryPlace::Registry(url) => Self::Registry(Arc::new(RemoteShelf {
                registry: files.open(url)?,
                images: RwLock::new(None),
            })),
        })
    }

    /// What reads the images.
    pub(crate) fn reader(&self) -> &dyn Images {
        match self {
            Self::Folder(library) => library,
            Self::Registry(remote) => remote.registry(),
        }
    }

    /// The registry, if it is one.
    pub fn remote(&self) -> Option<Arc<RemoteShelf>> {
        match self {
            Self::Folder(_) => None,
            Self::Registry(remote) => Some(Arc::clone(remote)),
        }
    }

    /// The images that it lists.
    pub(crate) fn images(&self) -> Result<Vec<ImageReference>, LibraryError> {
        match self {
            Self::Folder(library) => library.images(),
            Self::Registry(remote) => {
                let images = remote.images.read().unwrap_or_else(PoisonError::into_inner);
                images.clone().ok_or_else(|| LibraryError::NotListedYet {
                    library: remote.registry.url().to_string(),
                })
            }
        }
    }

    /// The image of that name and version.
    pub(crate) fn find(&self, name: &str, version: u64) -> Result<ImageReference, LibraryError> {
        let is = |image: &ImageReference| image.name == name && image.version == version;
        self.images()?.into_iter().find(is).ok_or_else(|| LibraryError::NoSuchImage {
            path: match self {
                Self::Folder(library) => library.root().into(),
                Self::Registry(remote) => remote.registry.url().to_string().into(),
            },
            name: name.into(),
            version,
        })
    }
}

impl RemoteShelf {
    /// Asks the registry for its list. What was known stays if it does not answer.
    pub(crate) fn refresh(&self) -> Result<(), LibraryError> {
        let images = self.registry.images()?;
        *self.images.write().unwrap_or_else(PoisonError::into_inner) = Some(images);
        Ok(())
    }

    /// The registry.
    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// Why a library was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// A folder.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryFileError),
}
