package batch

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/api/containers"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// Limits of upstream.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000 // above this, the two limits below hold too
	manyParallelism       = 10_000
	manyFailedIndexes     = 10_000
	maxManagedBy          = 63
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

func validateJob(j *batchv1.Job) field.ErrorList {
	f := &rule.Faults{}
	generatedSelector(f, j, true)
	wholeJobSpec(f, &j.Spec, specPath, podspec.Options{}, false)
	indexedName(f, j)
	return f.List
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	f := &rule.Faults{}
	_, named := old.Spec.Template.Labels[batchv1.JobNameLabel]
	_, owned := old.Spec.Template.Labels[batchv1.ControllerUidLabel]
	generatedSelector(f, j, named && owned)
	before := len(f.List)
	wholeJobSpec(f, &j.Spec, specPath, podspec.OptionsFor(&old.Spec.Template.Spec), rule.LaxSelector(old.Spec.Selector))
	found := slices.Clone(f.List[before:])
	indexedName(f, j)
	f.List = append(f.List, found...) // upstream looks twice
	s, was := &j.Spec, &old.Spec
	completionsUpdate(f, s, was)
	f.Unchanged(specPath.Child("selector"), s.Selector, was.Selector)
	templateUpdate(f, j, old)
	f.Unchanged(specPath.Child("completionMode"), s.CompletionMode, was.CompletionMode)
	f.Unchanged(specPath.Child("podFailurePolicy"), s.PodFailurePolicy, was.PodFailurePolicy)
	f.Unchanged(specPath.Child("backoffLimitPerIndex"), s.BackoffLimitPerIndex, was.BackoffLimitPerIndex)
	f.Unchanged(specPath.Child("managedBy"), s.ManagedBy, was.ManagedBy)
	f.Unchanged(specPath.Child("successPolicy"), s.SuccessPolicy, was.SuccessPolicy)
	return f.List
}

// generatedSelector checks that labels and selector that the server made are as it makes them.
func generatedSelector(f *rule.Faults, j *batchv1.Job, prefixed bool) {
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector || j.Spec.Selector == nil {
		return
	}
	if j.UID == "" {
		f.Required(field.NewPath("metadata", "uid"), "")
	}
	want := map[string]string{oldControllerUID: string(j.UID), oldJobName: j.Name}
	order := []string{oldControllerUID, oldJobName}
	if prefixed {
		want[batchv1.ControllerUidLabel], want[batchv1.JobNameLabel] = string(j.UID), j.Name
		order = append(order, batchv1.ControllerUidLabel, batchv1.JobNameLabel)
	}
	set := j.Spec.Template.Labels
	for _, key := range order {
		at := specPath.Child("template", "metadata", "labels").Key(key)
		value, ok := set[key]
		if !ok {
			f.Required(at, fmt.Sprintf("must be '%s'", want[key]))
		} else if value != want[key] {
			f.Invalid(at, set, fmt.Sprintf("must be '%s'", want[key]))
		}
	}
	if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(labels.Set(want)) {
		f.Invalid(specPath.Child("selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
}

// indexedName: the pods of an indexed job carry its name and their index as host names.
func indexedName(f *rule.Faults, j *batchv1.Job) {
	if !isIndexed(&j.Spec) || j.Spec.Completions == nil || *j.Spec.Completions <= 0 {
		return
	}
	last := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
	if len(utilvalidation.IsDNS1123Label(last)) > 0 {
		f.Invalid(field.NewPath("metadata", "name"), j.Name, "will not able to create pod with invalid DNS label: "+last)
	}
}

func isIndexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

// wholeJobSpec checks a job's spec with its selector, which a template in a cron job does not have.
func wholeJobSpec(f *rule.Faults, s *batchv1.JobSpec, at *field.Path, o podspec.Options, lax bool) {
	jobSpec(f, s, at, o)
	if s.Selector == nil {
		f.Required(at.Child("selector"), "")
	} else {
		f.Selector(at.Child("selector"), s.Selector, lax)
	}
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		f.Invalid(at.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
}

func jobSpec(f *rule.Faults, s *batchv1.JobSpec, at *field.Path, o podspec.Options) {
	f.AtLeastZeroIfSet(at.Child("parallelism"), s.Parallelism)
	f.AtLeastZeroIfSet(at.Child("completions"), s.Completions)
	if d := s.ActiveDeadlineSeconds; d != nil {
		f.AtLeastZero(at.Child("activeDeadlineSeconds"), *d)
	}
	f.AtLeastZeroIfSet(at.Child("backoffLimit"), s.BackoffLimit)
	f.AtLeastZeroIfSet(at.Child("ttlSecondsAfterFinished"), s.TTLSecondsAfterFinished)
	f.AtLeastZeroIfSet(at.Child("backoffLimitPerIndex"), s.BackoffLimitPerIndex)
	f.AtLeastZeroIfSet(at.Child("maxFailedIndexes"), s.MaxFailedIndexes)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		f.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if s.ManagedBy != nil {
		f.Add(utilvalidation.IsDomainPrefixedPath(at.Child("managedBy"), *s.ManagedBy)...)
		if len(*s.ManagedBy) > maxManagedBy {
			f.Add(field.TooLong(at.Child("managedBy"), "", maxManagedBy))
		}
	}
	if m := s.CompletionMode; m != nil && *m != batchv1.NonIndexedCompletion && *m != batchv1.IndexedCompletion {
		f.Add(field.NotSupported(at.Child("completionMode"), *m, []batchv1.CompletionMode{batchv1.NonIndexedCompletion, batchv1.IndexedCompletion}))
	}
	if isIndexed(s) {
		indexed(f, s, at)
	} else if s.CompletionMode == nil || *s.CompletionMode == batchv1.NonIndexedCompletion {
		notIndexed(f, s, at)
	}
	if s.PodFailurePolicy != nil {
		failurePolicy(f, s, at.Child("podFailurePolicy", "rules"))
	}
	successPolicy(f, s, at.Child("successPolicy"))
	if p := s.PodReplacementPolicy; p != nil {
		if s.PodFailurePolicy != nil {
			rule.OneOf(f, at.Child("podReplacementPolicy"), *p, batchv1.Failed)
		} else {
			rule.OneOf(f, at.Child("podReplacementPolicy"), *p, batchv1.Failed, batchv1.TerminatingOrFailed)
		}
	}
	f.Add(podspec.ValidateTemplate(&s.Template, at.Child("template"), o)...)
	restartPolicy(f, s, at.Child("template", "spec", "restartPolicy"))
}

func restartPolicy(f *rule.Faults, s *batchv1.JobSpec, at *field.Path) {
	switch p := s.Template.Spec.RestartPolicy; {
	case p == corev1.RestartPolicyAlways || p == "":
		f.Required(at, `valid values: "OnFailure", "Never"`)
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		f.Add(field.NotSupported(at, p, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
	case s.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		f.Invalid(at, p, `only "Never" is supported when podFailurePolicy is specified`)
	}
}

func indexed(f *rule.Faults, s *batchv1.JobSpec, at *field.Path) {
	if s.Completions == nil {
		f.Required(at.Child("completions"), "when completion mode is Indexed")
	}
	above := func(n *int32, limit int32) bool { return n != nil && *n > limit }
	if above(s.Parallelism, maxIndexedParallelism) {
		f.Invalid(at.Child("parallelism"), *s.Parallelism, "must be less than or equal to 100000 when completion mode is Indexed")
	}
	if s.Completions != nil && above(s.MaxFailedIndexes, *s.Completions) {
		f.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "must be less than or equal to completions")
	}
	if above(s.MaxFailedIndexes, maxFailedIndexes) {
		f.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "must be less than or equal to 100000")
	}
	if !above(s.Completions, manyCompletions) || s.BackoffLimitPerIndex == nil {
		return
	}
	const many = "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"
	if s.MaxFailedIndexes == nil {
		f.Required(at.Child("maxFailedIndexes"), "must be specified when completions is above 100000")
	}
	if above(s.Parallelism, manyParallelism) {
		f.Invalid(at.Child("parallelism"), *s.Parallelism, many)
	}
	if above(s.MaxFailedIndexes, manyFailedIndexes) {
		f.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, many)
	}
}

func notIndexed(f *rule.Faults, s *batchv1.JobSpec, at *field.Path) {
	if s.BackoffLimitPerIndex != nil {
		f.Invalid(at.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode")
	}
	if s.MaxFailedIndexes != nil {
		f.Invalid(at.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode")
	}
}

// completionsUpdate: an indexed job may grow and shrink, as long as all its pods run at once.
func completionsUpdate(f *rule.Faults, s, was *batchv1.JobSpec) {
	at := specPath.Child("completions")
	if !isIndexed(s) {
		f.Unchanged(at, s.Completions, was.Completions)
		return
	}
	if s.Completions == nil || equality.Semantic.DeepEqual(s.Completions, was.Completions) {
		return
	}
	if s.Parallelism == nil || *s.Completions != *s.Parallelism {
		f.Invalid(at, s.Completions, "can only be modified in tandem with spec.parallelism")
	}
}

// templateUpdate: until it has run, a suspended job may be told anew where to run and with how much.
func templateUpdate(f *rule.Faults, j, old *batchv1.Job) {
	is, was := &j.Spec.Template, &old.Spec.Template
	if !ptr.Deref(old.Spec.Suspend, false) || !idle(old) {
		f.Unchanged(specPath.Child("template"), is, was)
		return
	}
	was = withScheduling(was, is)
	withResources(was.Spec.Containers, is.Spec.Containers)
	withResources(was.Spec.InitContainers, is.Spec.InitContainers)
	f.Unchanged(specPath.Child("template.spec"), is.Spec, was.Spec)
}

// withResources takes over the resources of the same containers.
func withResources(was, is []corev1.Container) {
	for i := range was {
		if len(was) == len(is) && was[i].Name == is[i].Name {
			was[i].Resources = is[i].Resources
		}
	}
}

// idle says that no pod of the job is left.
func idle(j *batchv1.Job) bool {
	return j.Status.Active == 0 && (j.Status.StartTime == nil || jobIs(j, batchv1.JobSuspended))
}

func withScheduling(was, is *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t := was.DeepCopy()
	switch {
	case is.Spec.Affinity == nil && t.Spec.Affinity != nil:
		t.Spec.Affinity.NodeAffinity = nil
		if *t.Spec.Affinity == (corev1.Affinity{}) {
			t.Spec.Affinity = nil
		}
	case is.Spec.Affinity != nil && t.Spec.Affinity == nil:
		t.Spec.Affinity = &corev1.Affinity{NodeAffinity: is.Spec.Affinity.NodeAffinity}
	case is.Spec.Affinity != nil:
		t.Spec.Affinity.NodeAffinity = is.Spec.Affinity.NodeAffinity
	}
	t.Spec.NodeSelector, t.Spec.Tolerations = is.Spec.NodeSelector, is.Spec.Tolerations
	t.Annotations, t.Labels = is.Annotations, is.Labels
	t.Spec.SchedulingGates = is.Spec.SchedulingGates
	return t
}

// quoted prints the allowed values of a field that upstream lists in the text of a missing one.
func quoted[S ~string](values ...S) string {
	return fmt.Sprintf("valid values: %q", slices.Sorted(slices.Values(values)))
}

func names(t *corev1.PodTemplateSpec) map[string]bool {
	set := map[string]bool{}
	for c := range containers.Of(&t.Spec) {
		set[c.Name] = true
	}
	return set
}
