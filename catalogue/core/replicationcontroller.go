package core

import (
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// replicationControllers describes ReplicationController.
func replicationControllers() *catalogue.Resource {
	type rc = corev1.ReplicationController
	return catalogue.Describe[rc, corev1.ReplicationControllerList](catalogue.Kind[*rc]{
		Resource: api.ReplicationControllers.Resource,
		Warnings: func(c, old *rc) []string {
			return podspec.OwnerWarnings(&c.ObjectMeta, podspec.MetaOf(old), c.Spec.Template, field.NewPath("spec", "template"), true)
		},
		ValidateName:   catalogue.OnlyWholeNames,
		ValidateCreate: func(c *rc) field.ErrorList { return validateReplicationController(c, nil) },
		ValidateUpdate: func(c, old *rc) field.ErrorList { return validateReplicationController(c, old.Spec.Template) },
		ValidateStatus: validateReplicationControllerStatus,
		PrepareCreate:  func(c *rc) { podspec.DropDisabledTemplate(c.Spec.Template, nil) },
		PrepareUpdate:  func(c, old *rc) { podspec.DropDisabledTemplate(c.Spec.Template, old.Spec.Template) },
		Columns:        replicationControllerColumns,
		Row:            replicationControllerRow,
		Default:        defaultReplicationController,
		ShortNames:     []string{"rc"},
		Categories:     []string{"all"},
		Prefix:         "controllers",
		Propagation:    metav1.DeletePropagationOrphan,

		Spec:       catalogue.PartOf(func(c *rc) *corev1.ReplicationControllerSpec { return &c.Spec }),
		Status:     catalogue.PartOf(func(c *rc) *corev1.ReplicationControllerStatus { return &c.Status }),
		Generation: catalogue.PartOf(func(c *rc) *corev1.ReplicationControllerSpec { return &c.Spec }),

		Fields: map[string]func(*rc) string{
			"status.replicas": func(c *rc) string { return strconv.Itoa(int(c.Status.Replicas)) },
		},
		Scale: catalogue.ScaleOf(
			func(c *rc) **int32 { return &c.Spec.Replicas },
			func(c *rc) int32 { return c.Status.Replicas },
			func(c *rc) string { return labels.SelectorFromSet(c.Spec.Selector).String() },
		),
	})
}

// defaultReplicationController takes selector and labels from the template, as only this oldest of the
// workloads does.
func defaultReplicationController(c *corev1.ReplicationController) {
	rule.SetIfNil(&c.Spec.Replicas, 1)
	if c.Spec.Template == nil {
		return
	}
	podspec.DefaultTemplate(c.Spec.Template)
	if set := c.Spec.Template.Labels; set != nil {
		if len(c.Spec.Selector) == 0 {
			c.Spec.Selector = maps.Clone(set)
		}
		if len(c.Labels) == 0 {
			c.Labels = maps.Clone(set)
		}
	}
}

var replicationControllerColumns = slices.Concat([]table.Column{
	table.Name,
	table.Integer("Desired", table.Doc(corev1.ReplicationControllerSpec{}, "replicas")),
	table.Integer("Current", table.Doc(corev1.ReplicationControllerStatus{}, "replicas")),
	table.Integer("Ready", table.Doc(corev1.ReplicationControllerStatus{}, "readyReplicas")),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(corev1.ReplicationControllerSpec{}, "selector")),
))

func replicationControllerRow(c *corev1.ReplicationController, now time.Time) []any {
	var desired int64
	if c.Spec.Replicas != nil {
		desired = int64(*c.Spec.Replicas)
	}
	var containers []corev1.Container
	if c.Spec.Template != nil {
		containers = c.Spec.Template.Spec.Containers
	}
	return []any{
		c.Name, desired, int64(c.Status.Replicas), int64(c.Status.ReadyReplicas), table.Since(c.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers), table.Labels(c.Spec.Selector),
	}
}

func validateReplicationController(c *corev1.ReplicationController, old *corev1.PodTemplateSpec) field.ErrorList {
	f, at := &rule.Faults{}, field.NewPath("spec")
	f.AtLeastZero(at.Child("minReadySeconds"), int64(c.Spec.MinReadySeconds))
	if len(c.Spec.Selector) == 0 {
		f.Required(at.Child("selector"), "")
	}
	if c.Spec.Replicas == nil {
		f.Required(at.Child("replicas"), "")
	}
	f.AtLeastZeroIfSet(at.Child("replicas"), c.Spec.Replicas)
	t, path := c.Spec.Template, at.Child("template")
	if t == nil {
		f.Required(path, "")
		return f.List
	}
	if s := labels.SelectorFromSet(c.Spec.Selector); !s.Empty() && !s.Matches(labels.Set(t.Labels)) {
		f.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")
	}
	var o podspec.Options
	if old != nil {
		o = podspec.OptionsFor(&old.Spec)
	}
	f.Add(podspec.ValidateTemplate(t, path, o)...)
	if p := t.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		f.Add(field.NotSupported(path.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		f.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported")
	}
	return f.List
}

func validateReplicationControllerStatus(c, _ *corev1.ReplicationController) field.ErrorList {
	f, s := &rule.Faults{}, &c.Status
	f.Replicas(field.NewPath("status"), rule.Replicas{
		All: s.Replicas, FullyLabeled: s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
		ObservedGeneration: s.ObservedGeneration,
	})
	return f.List
}
