package catalogue

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

// A Kind is the typed form in which a Resource is written down; Describe makes the Resource. Fields that
// Resource has too mean the same; the others are explained here.
type Kind[T api.Object] struct {
	api.Resource
	ShortNames []string
	Categories []string
	Verbs      []string
	Deprecated string
	Prefix     string // "" means the plural name
	Unstored   bool   // never stored: reviews and the like

	// Spec is what a status update may not change, Status what an update of the object may not change.
	// A kind with a Status has a status subresource.
	Spec, Status *Part[T]
	// Generation is the part whose change raises metadata.generation; nil where upstream keeps none.
	Generation *Part[T]

	Default         func(T)
	PrepareCreate   func(T)          // after Status is cleared and the generation set
	PrepareUpdate   func(obj, old T) // after Status is carried over, before the generation is raised
	ValidateCreate  func(T) field.ErrorList
	ValidateUpdate  func(obj, old T) field.ErrorList
	Warnings        func(obj, old T) []string // old is nil on create
	ValidateName    func(name string, prefix bool) []string
	Canonicalize    func(T)
	PrepareStatus   func(obj, old T) // after Spec is carried over
	ValidateStatus  func(obj, old T) field.ErrorList
	Metadata        []MetaCheck
	StatusMetadata  []MetaCheck // Metadata of updates of the status
	MetadataLast    bool
	GracePeriod     func(obj T, asked *int64) int64
	Permanent       func(name string) string
	Scale           *Scale
	Subresources    []Subresource
	Columns         []metav1.TableColumnDefinition
	Row             func(obj T, now time.Time) []any
	RowConditions   func(T) []metav1.TableRowCondition
	RowOrder        func(a, b T) int
	OwnAnnotation   string
	Fields          map[string]func(T) string
	Also            []Version
	Propagation     metav1.DeletionPropagation
	CreateOnUpdate  bool // PUT of an absent object creates it
	NeedsRevision   bool // PUT without resourceVersion is refused; for nearly all kinds it overwrites
	KeepCreateState bool // a creator may set the status: nothing is cleared
	AnyFinalizers   bool // finalizers need no domain
}

// A Part is one field of T, usually its spec or its status.
type Part[T api.Object] struct {
	clear func(T)
	carry func(dst, src T)
	equal func(a, b T) bool
}

// PartOf returns the part that at points to. Carrying a part over shares what it refers to: the source
// is one of the store's objects, and the destination is about to become one.
func PartOf[T api.Object, F any](at func(T) *F) *Part[T] {
	return &Part[T]{
		clear: func(o T) { var zero F; *at(o) = zero },
		carry: func(dst, src T) { *at(dst) = *at(src) },
		equal: func(a, b T) bool { return equality.Semantic.DeepEqual(at(a), at(b)) },
	}
}

// Whole returns the part that is all of an object but its metadata, and its kind: what is read has one, what is stored has
// not.
func Whole[T api.Object](meta func(T) *metav1.ObjectMeta) *Part[T] {
	bare := func(o T) T {
		c := o.DeepCopyObject().(T)
		*meta(c) = metav1.ObjectMeta{}
		c.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return c
	}
	return &Part[T]{equal: func(a, b T) bool { return equality.Semantic.DeepEqual(bare(a), bare(b)) }}
}

// Describe makes the Resource of a kind whose Go types are O and L.
func Describe[O, L any, T interface {
	*O
	api.Object
}, TL interface {
	*L
	runtime.Object
}](k Kind[T]) *Resource {
	r := &Resource{
		Resource:   k.Resource,
		Singular:   singular(k.Kind),
		ListKind:   k.Kind + "List",
		ShortNames: k.ShortNames,
		Deprecated: k.Deprecated,
		Categories: k.Categories,
		Verbs:      k.Verbs,
		Prefix:     k.Prefix,

		New:     func() api.Object { return T(new(O)) },
		NewList: func() runtime.Object { return TL(new(L)) },

		Default:                  one(k.Default),
		PrepareCreate:            k.prepareCreate(),
		PrepareUpdate:            k.prepareUpdate(),
		ValidateCreate:           k.oneErrors(k.ValidateCreate),
		ValidateUpdate:           k.twoErrors(k.ValidateUpdate),
		Metadata:                 k.Metadata,
		MetadataLast:             k.MetadataLast,
		AnyFinalizers:            k.AnyFinalizers,
		ValidateName:             k.ValidateName,
		Canonicalize:             one(k.Canonicalize),
		AllowCreateOnUpdate:      k.CreateOnUpdate,
		AllowUnconditionalUpdate: !k.NeedsRevision,
		Permanent:                k.Permanent,
		DefaultPropagation:       k.Propagation,
		Scale:                    k.Scale,
		Subresources:             k.Subresources,
		Columns:                  k.Columns,
		OwnAnnotation:            k.OwnAnnotation,
		Also:                     k.Also,
	}
	if r.Prefix == "" && !k.Unstored {
		r.Prefix = k.Name
	}
	if k.Status != nil {
		r.Status = &Status{Prepare: k.prepareStatus(), Metadata: k.StatusMetadata}
		if k.ValidateStatus != nil {
			r.Status.Validate = k.twoErrors(k.ValidateStatus)
		}
	}
	if k.Warnings != nil {
		r.Warnings = func(obj, old api.Object) []string {
			was, _ := old.(T) // nil on create
			return k.Warnings(obj.(T), was)
		}
	}
	if k.GracePeriod != nil {
		r.GracePeriod = func(obj api.Object, asked *int64) int64 { return k.GracePeriod(obj.(T), asked) }
	}
	k.present(r)
	return r
}

// present adds how objects are shown in tables, and by which fields they are selected.
func (k Kind[T]) present(r *Resource) {
	if k.Row != nil {
		r.Row = func(obj api.Object, now time.Time) []any { return k.Row(obj.(T), now) }
	}
	if k.RowConditions != nil {
		r.RowConditions = func(obj api.Object) []metav1.TableRowCondition { return k.RowConditions(obj.(T)) }
	}
	if k.RowOrder != nil {
		r.RowOrder = func(a, b api.Object) int { return k.RowOrder(a.(T), b.(T)) }
	}
	if k.Fields != nil {
		r.Fields = make(map[string]func(api.Object) string, len(k.Fields))
		for name, get := range k.Fields {
			r.Fields[name] = func(obj api.Object) string { return get(obj.(T)) }
		}
	}
}

func (k Kind[T]) prepareCreate() func(api.Object) {
	return func(obj api.Object) {
		o := obj.(T)
		if k.Status != nil && !k.KeepCreateState {
			k.Status.clear(o)
		}
		if k.Generation != nil {
			o.SetGeneration(1)
		}
		if k.PrepareCreate != nil {
			k.PrepareCreate(o)
		}
	}
}

func (k Kind[T]) prepareUpdate() func(obj, old api.Object) {
	return func(obj, old api.Object) {
		o, was := obj.(T), old.(T)
		o.SetGeneration(was.GetGeneration())
		if k.Status != nil {
			k.Status.carry(o, was)
		}
		if k.PrepareUpdate != nil {
			k.PrepareUpdate(o, was)
		}
		if k.Generation != nil && !k.Generation.equal(o, was) {
			o.SetGeneration(was.GetGeneration() + 1)
		}
	}
}

func (k Kind[T]) prepareStatus() func(obj, old api.Object) {
	return func(obj, old api.Object) {
		o, was := obj.(T), old.(T)
		o.SetGeneration(was.GetGeneration())
		if k.Spec != nil {
			k.Spec.carry(o, was)
		}
		if k.PrepareStatus != nil {
			k.PrepareStatus(o, was)
		}
	}
}

func one[T api.Object](fn func(T)) func(api.Object) {
	if fn == nil {
		return nil
	}
	return func(obj api.Object) { fn(obj.(T)) }
}

func (k Kind[T]) oneErrors(fn func(T) field.ErrorList) func(api.Object) field.ErrorList {
	if k.AnyFinalizers && fn != nil {
		return func(obj api.Object) field.ErrorList { return fn(obj.(T)) }
	}
	return OneErrors(fn)
}

func (k Kind[T]) twoErrors(fn func(obj, old T) field.ErrorList) func(obj, old api.Object) field.ErrorList {
	if k.AnyFinalizers && fn != nil {
		return func(obj, old api.Object) field.ErrorList { return fn(obj.(T), old.(T)) }
	}
	return TwoErrors(fn)
}

// OneErrors adapts the validation of new objects of a built-in kind; nil checks what all of them must keep.
func OneErrors[T api.Object](fn func(T) field.ErrorList) func(api.Object) field.ErrorList {
	if fn == nil {
		return finalizerNames
	}
	return func(obj api.Object) field.ErrorList { return append(finalizerNames(obj), fn(obj.(T))...) }
}

// TwoErrors is OneErrors for updates.
func TwoErrors[T api.Object](fn func(obj, old T) field.ErrorList) func(obj, old api.Object) field.ErrorList {
	if fn == nil {
		return func(obj, _ api.Object) field.ErrorList { return finalizerNames(obj) }
	}
	return func(obj, old api.Object) field.ErrorList { return append(finalizerNames(obj), fn(obj.(T), old.(T))...) }
}

// singular is the lower-case kind, which is what upstream serves for every built-in.
func singular(kind string) string { return strings.ToLower(kind) }

// ScaleOf maps a kind with the usual fields to Scale.
func ScaleOf[T api.Object](spec func(T) **int32, status func(T) int32, selector func(T) string) *Scale {
	return &Scale{
		Replicas: func(obj api.Object) (int32, int32) {
			o := obj.(T)
			var wanted int32
			if p := *spec(o); p != nil {
				wanted = *p
			}
			return wanted, status(o)
		},
		SetReplicas: func(obj api.Object, n int32) { *spec(obj.(T)) = &n },
		Selector:    func(obj api.Object) string { return selector(obj.(T)) },
	}
}

// SelectorText is a label selector in string form, "" for one that is missing or broken.
func SelectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}

// StatusOf makes a Status of typed functions, either of which may be nil, and of the looks at the metadata if there are
// others than usual.
func StatusOf[T api.Object](prepare func(obj, old T), validate func(obj, old T) field.ErrorList, metadata ...MetaCheck) *Status {
	return &Status{
		Metadata: metadata,
		Prepare: func(obj, old api.Object) {
			if prepare != nil {
				prepare(obj.(T), old.(T))
			}
		},
		Validate: TwoErrors(validate),
	}
}

// Both returns the part that is a and b together, for comparing.
func Both[T api.Object](a, b *Part[T]) *Part[T] {
	return &Part[T]{equal: func(x, y T) bool { return a.equal(x, y) && b.equal(x, y) }}
}
