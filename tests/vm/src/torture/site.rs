//! A place for one machine at a time: a network of its own, in which the controller always has the
//! same name and port, so that a disk finds it there again whatever process burned it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use repave_controller_stub::{Enrolment, Scenario, Select};
use repave_protocol::{Generation, ImageReference, Order, Purpose, Settings};
use repave_qemu::namespace::{Namespace, NamespaceSpec};
use repave_qemu::net::Nic;

use crate::lab::{Lab, LabSpec};

const CONTROLLER: &str = "controller.test";
const PORT: u16 = 8443;

/// The place.
pub struct Site {
    name: String,
    library: PathBuf,
    namespace: Namespace,
    nic: Nic,
}

impl Site {
    /// A place called `name`, whose controllers serve the images of `library`.
    ///
    /// # Errors
    /// The network cannot be made; it needs root.
    pub fn new(name: &str, folder: &Path, library: &Path) -> Result<Self> {
        let mut spec = NamespaceSpec::new(folder.join(name));
        spec.outside_names = vec![CONTROLLER.into()];
        // dnsmasq would look for three seconds whether an address is in use.
        spec.dnsmasq_args = vec!["--no-ping".into()];
        let namespace = Namespace::new(&spec)?;
        let nic = namespace.nic()?;
        Ok(Self { name: name.into(), library: library.into(), namespace, nic })
    }

    /// Its network card.
    pub(crate) fn nic(&self) -> Nic {
        self.nic.clone()
    }

    /// A lab with a quiet controller.
    ///
    /// # Errors
    /// The controller does not start.
    pub fn lab(&self) -> Result<Lab> {
        self.lab_with(Scenario::default())
    }

    /// A lab whose controller orders every server to become `image`; under the generation under
    /// which an earlier controller `issued` that order, if one did.
    ///
    /// # Errors
    /// The controller does not start.
    pub(crate) fn lab_for(
        &self,
        image: &ImageReference,
        issued: Option<Generation>,
    ) -> Result<Lab> {
        let quiet = self.lab()?;
        let settings = Settings { hostname: Some("torture".into()), ..Settings::default() };
        let purpose = Purpose { settings, ..quiet.purpose(image) };
        quiet.finish()?;
        drop(quiet);
        let order = Some(Order::Purpose(Box::new(purpose)));
        let enrolments = vec![Enrolment { select: Select::Anyone, order, issued }];
        self.lab_with(Scenario { enrolments, ..Scenario::default() })
    }

    fn lab_with(&self, scenario: Scenario) -> Result<Lab> {
        Lab::with(LabSpec {
            name: &format!("torture-{}", self.name),
            listen: SocketAddr::new(self.namespace.outside().into(), PORT),
            controller: CONTROLLER,
            scenario,
            library: Some(&self.library),
        })
    }
}
