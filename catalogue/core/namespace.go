package core

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// namespaces describes Namespace.
func namespaces() *catalogue.Resource {
	return catalogue.Describe[corev1.Namespace, corev1.NamespaceList](catalogue.Kind[*corev1.Namespace]{
		Resource:       api.Namespaces.Resource,
		ValidateCreate: validateNamespace,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: func(n, _ *corev1.Namespace) field.ErrorList { return validateNamespace(n) },
		ValidateStatus: validateNamespaceStatus,
		PrepareCreate:  prepareNamespace,
		PrepareUpdate:  func(n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
		Columns:        namespaceColumns,
		Row:            namespaceRow,
		Default:        defaultNamespace,
		Canonicalize:   labelWithName,
		ShortNames:     []string{"ns"},
		Verbs:          []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		ValidateName:   validation.NameIsDNSLabel,

		Spec:   catalogue.PartOf(func(n *corev1.Namespace) *corev1.NamespaceSpec { return &n.Spec }),
		Status: catalogue.PartOf(func(n *corev1.Namespace) *corev1.NamespaceStatus { return &n.Status }),

		Fields: map[string]func(*corev1.Namespace) string{
			"status.phase": func(n *corev1.Namespace) string { return string(n.Status.Phase) },
		},
		Subresources: []catalogue.Subresource{
			{
				Name: "finalize", Kind: "Namespace", Table: true, Verbs: []string{"update"}, New: func() runtime.Object { return new(corev1.Namespace) },
				Update: catalogue.StatusOf(func(n, old *corev1.Namespace) { n.Status = old.Status }, func(n, _ *corev1.Namespace) field.ErrorList {
					return namespaceFinalizers(n, func(i int) *field.Path { return finalizersPath.Index(i) })
				}),
			},
		},
	})
}

// defaultNamespace sets the label by which selectors name a namespace. Without a name yet (generateName)
// that waits for Canonicalize.
func defaultNamespace(n *corev1.Namespace) {
	rule.SetIfEmpty(&n.Status.Phase, corev1.NamespaceActive)
	labelWithName(n)
}

func labelWithName(n *corev1.Namespace) {
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

var namespaceColumns = []table.Column{
	table.Name,
	table.String("Status", "The status of the namespace"),
	table.Age,
}

func namespaceRow(n *corev1.Namespace, now time.Time) []any {
	return []any{n.Name, string(n.Status.Phase), table.Since(n.CreationTimestamp, now)}
}

// prepareNamespace adds the finalizer of the namespace controller, which empties a namespace before it goes.
func prepareNamespace(n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

var finalizersPath = field.NewPath("spec", "finalizers")

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	return namespaceFinalizers(n, func(int) *field.Path { return finalizersPath })
}

// namespaceFinalizers checks the finalizers of the spec; at says where the faults of the i-th one stand.
func namespaceFinalizers(n *corev1.Namespace, at func(i int) *field.Path) field.ErrorList {
	f := &rule.Faults{}
	for i, name := range n.Spec.Finalizers {
		at := at(i)
		f.Add(validation.ValidateFinalizerName(string(name), at)...)
		f.Add(catalogue.FinalizerName(at, string(name))...)
	}
	return f.List
}

func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	f := &rule.Faults{}
	at := field.NewPath("status", "Phase")
	switch going := !n.DeletionTimestamp.IsZero(); {
	case going && n.Status.Phase != corev1.NamespaceTerminating:
		f.Invalid(at, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	case !going && n.Status.Phase != corev1.NamespaceActive:
		f.Invalid(at, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
	}
	return f.List
}
