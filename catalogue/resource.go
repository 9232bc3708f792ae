// Package catalogue describes every kind of object that the API serves, each in one place: names, scope,
// defaults, validation, what an update may change, table columns, selectable fields, served versions.
// Routing, discovery, the write pipeline and `kubectl get` output all derive from these descriptions.
//
// The packages below it hold the descriptions, one folder per API group and, where a kind has much to say,
// one per resource. Package catalogue/all links them in. Everything here is pure: no I/O or
// client, and no clock but rule.Now.
package catalogue

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
)

// NoDependents as a DefaultPropagation means that nobody cares for dependents: no delete waits for what becomes of them,
// whatever its options say.
const NoDependents metav1.DeletionPropagation = "NoDependents"

// A Resource describes one kind of object. Nil functions mean "nothing to do".
type Resource struct {
	api.Resource // the storage version, which is also the preferred served one

	Singular   string   // "pod"
	ListKind   string   // "PodList"
	ShortNames []string // "po"
	Categories []string // "all"
	// Verbs that discovery lists and the server accepts; nil means all eight: create delete
	// deletecollection get list patch update watch. Create-only kinds (reviews) have just "create".
	Verbs []string
	// Replaced ends when another description takes this one's place, or none: so do watches, and clients
	// come to see the objects by the new schema.
	Replaced context.Context
	// Withheld keeps the storage version from clients: the server goes on using it, no path leads to it.
	Withheld bool
	// Deprecated is what clients are warned of whatever they do with the kind; "" for nearly all.
	Deprecated string
	// Prefix is the storage key's first element: "pods". Empty for kinds that are never stored.
	Prefix string

	New     func() api.Object     // an empty object of the storage version
	NewList func() runtime.Object // an empty list of the storage version

	// Default fills in what the user left out, as upstream's versioned defaulting does. It runs on every
	// decoded object and on patch results, before admission. It must be idempotent.
	Default func(obj api.Object)

	// PrepareCreate resets what a creator may not set (status, disabled fields) and sets generation.
	PrepareCreate func(obj api.Object)
	// PrepareCreateFor writes down who creates the object; it runs right after PrepareCreate. Only
	// certificate signing requests have it.
	PrepareCreateFor func(obj api.Object, creator user.Info)
	// PrepareUpdate carries over from old what an update of the main resource may not change (status),
	// and raises metadata.generation where the spec differs, as upstream's strategy does.
	PrepareUpdate func(obj, old api.Object)
	// ValidateCreate and ValidateUpdate return every fault at once, with upstream's paths and messages.
	// Object metadata (names, labels, annotations, owner references, finalizers, immutability of name, uid
	// and creationTimestamp) is validated by the pipeline for all kinds, with ValidateName for the name.
	ValidateCreate func(obj api.Object) field.ErrorList
	ValidateUpdate func(obj, old api.Object) field.ErrorList
	// Warnings returns what upstream says in Warning headers; old is nil on create.
	Warnings func(obj, old api.Object) []string
	// Metadata are the looks that ValidateUpdate's kind takes at the metadata before; nil: OnlyChanges.
	Metadata []MetaCheck
	// MetadataLast says that the metadata of new objects is looked at where all else is right. For most kinds it is first.
	MetadataLast bool
	// AnyFinalizers says that finalizers need no domain.
	AnyFinalizers bool
	// ValidateName says what is wrong with a name (prefix: it will get a generated suffix). Nil means the
	// usual: a DNS-1123 subdomain.
	ValidateName func(name string, prefix bool) []string
	// Canonicalize brings a valid object to its stored form (empty lists dropped, …). Rarely needed.
	Canonicalize func(obj api.Object)
	// AllowCreateOnUpdate: PUT of an absent object creates it (leases, endpoints, …), as upstream.
	AllowCreateOnUpdate bool
	// AllowUnconditionalUpdate: PUT without resourceVersion overwrites. True for nearly all kinds upstream.
	AllowUnconditionalUpdate bool

	// GracePeriod decides graceful deletion: given the object and the seconds asked for (nil: none asked),
	// it returns the seconds to wait before the object goes, 0 for at once. Nil: always at once.
	GracePeriod func(obj api.Object, asked *int64) int64
	// BeginDelete marks an object that is asked to go for the first time, where it always waits for somebody and how is
	// the kind's own business: definitions, whose objects go first. Nil for all others.
	BeginDelete func(obj api.Object, now time.Time)
	// Permanent says by an object's name why clients may not delete it; "" that they may. A deletion of a whole collection
	// does not ask, as upstream's. Nil: all may go.
	Permanent func(name string) string
	// DefaultPropagation for deletes that name none; "" means background. Upstream: orphan for
	// replication controllers of v1, background for the rest, NoDependents for events.
	DefaultPropagation metav1.DeletionPropagation

	// Status describes the status subresource; nil: there is none.
	Status *Status
	// Scale maps the object to autoscaling/v1 Scale; nil: no scale subresource.
	Scale *Scale
	// Subresources lists others by name with their verbs and kind, for discovery and routing: "binding",
	// "eviction", "log", "exec", "token", …. How they act is in apiserver/subresource.
	Subresources []Subresource

	// Columns of `kubectl get`; nil means upstream's default: NAME and CREATED AT. Row yields one cell per
	// column for an object, ages as of now.
	Columns []metav1.TableColumnDefinition
	Row     func(obj api.Object, now time.Time) []any
	// OwnAnnotation is what the server writes into an annotation for want of a field: tables and metadata do not show it,
	// as upstream has a field for it. "" for nearly all kinds.
	OwnAnnotation string
	// RowConditions marks rows of objects that are done; nil for nearly all kinds.
	RowConditions func(obj api.Object) []metav1.TableRowCondition
	// RowOrder sorts the rows of a list; nil: they stand in the order of its objects.
	RowOrder func(a, b api.Object) int

	// Fields are the selectable fields beyond metadata.name and metadata.namespace.
	Fields map[string]func(obj api.Object) string

	// Also lists other served versions of the same kind.
	Also []Version

	// Types knows the schema that managedFields are computed from; nil: that of the built-in kinds.
	Types managedfields.TypeConverter
	// Custom is what only kinds have that a CustomResourceDefinition describes; nil for built-in kinds.
	Custom *Custom
}

// Served says whether clients see the storage version.
func (r *Resource) Served() bool { return !r.Withheld && (r.Custom == nil || !r.Custom.Unserved) }

// A Custom is the part of a description that comes from a schema given at run time, for one version.
type Custom struct {
	// Prune drops what the version's schema does not know, and returns the paths of it.
	Prune func(obj api.Object) (unknown []string, err error)
	// Read shows stored objects as those of the version, in order and in the form that the schemas have today: what
	// was stored may have been written under an earlier one. The objects it is given stay as they are.
	Read func(stored []api.Object) ([]api.Object, error)
	// Hub is Read for the storage version: what a change starts from.
	Hub func(stored api.Object) (api.Object, error)
	// Convert makes objects of a version, in order; those that are of it come back themselves. Objects that
	// were stored in an earlier storage version stay in it until they are written again.
	Convert func(in []api.Object, to schema.GroupVersionKind) ([]api.Object, error)
	// Remote says that a webhook converts: its answers are not kept, and many objects are converted at once.
	Remote bool
	// Schema returns the version's schema as a version of OpenAPI writes it.
	Schema func(OpenAPI) (Schema, error)
	// Keep returns what make made of the version under a name: it stays, packed, while it is used, and is made again when
	// it is needed after that.
	Keep func(name string, make func() ([]byte, error)) ([]byte, error)
	// ID differs whenever the schemas do.
	ID string
	// Unserved says that the version itself is not served, only those of Also.
	Unserved bool
	// Terminating says that the definition is being deleted: no object may come any more.
	Terminating bool
	// Replaced ends when another description takes this one's place, or none: so do watches, and clients
	// come to see the objects by the new schema.
	Replaced context.Context
	// Deprecated is what clients of the version are warned of; "" for nothing.
	Deprecated string
}

// OpenAPI is a version of the specification.
type OpenAPI int

const (
	OpenAPI2 OpenAPI = 2
	OpenAPI3 OpenAPI = 3
)

// A Schema is an OpenAPI schema, encoded.
type Schema struct {
	Model string // its name
	Text  []byte
	// Selectable lists the fields that objects can be selected by; nil for none. The schema itself has it, too.
	Selectable []byte
}

// A Status describes a status subresource.
type Status struct {
	// Prepare carries over from old everything a status update may not change (spec, most metadata).
	Prepare func(obj, old api.Object)
	// Validate returns every fault of the new status.
	Validate func(obj, old api.Object) field.ErrorList
	Metadata []MetaCheck // before, as a Resource's
	// NoTable says that upstream does not show it as a table.
	NoTable bool
}

// A Scale maps an object to and from autoscaling/v1 Scale.
type Scale struct {
	Replicas    func(obj api.Object) (spec, status int32)
	SetReplicas func(obj api.Object, n int32)
	Selector    func(obj api.Object) string // in string form, for status.selector
	// Paths lead to the replicas in an object of each version that has a scale; nil: spec, replicas. Their owner
	// owns the scale's.
	Paths map[string][]any
	// Find says where obj would have its replicas, and whether they are there: of a custom kind they need not be. Such a
	// kind's own validation tells how many there may be. Nil: they are always there.
	Find func(obj api.Object) (path string, found bool, err error)
}

// A Subresource is an entry of discovery such as pods/eviction.
type Subresource struct {
	Name                 string
	Group, Version, Kind string // of the body; Group and Version may be empty for the parent's
	Verbs                []string
	New                  func() runtime.Object // an empty body; nil for connect verbs (log, exec, proxy)
	// Default fills in what a body leaves out. Nil for nearly all.
	Default func(body runtime.Object)
	// Answered says that a create is answered with its body, which shows who has written what of it.
	Answered bool
	// Table says that upstream shows it as a table, too.
	Table bool
	// Update is how subresources behave that show the parent and change a part of it, as its status does:
	// pods/ephemeralcontainers, pods/resize, certificatesigningrequests/approval, namespaces/finalize.
	Update *Status
}

// A Version is another served version of a Resource. The conversions work in both directions without loss.
type Version struct {
	Withheld bool   // from clients, as the Resource's own
	Group    string // where it differs from the Resource's, as for events of events.k8s.io; else ""
	Version  string
	// Deprecated is what clients of this version are warned of, as the Resource's own; "": what those of all are.
	Deprecated string

	New     func() api.Object
	NewList func() runtime.Object
	Default func(obj api.Object)                    // defaulting of this version, before conversion
	ToHub   func(in api.Object) (api.Object, error) // to the storage version
	FromHub func(in api.Object) (api.Object, error)
	// Resource describes the kind as this version has it, where versions differ in more than shape: custom
	// resources. Like the Resource that this is a version of it is about objects of the storage version.
	Resource *Resource
	// ValidateCreate and ValidateUpdate stand in for the resource's where this version has other rules; they
	// get objects of the storage version. Nil for nearly all versions.
	ValidateCreate func(obj api.Object) field.ErrorList
	ValidateUpdate func(obj, old api.Object) field.ErrorList
	// Fields translates this version's names of selectable fields to the storage version's, where they differ.
	Fields map[string]string
}
