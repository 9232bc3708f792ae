package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// Limits of upstream.
const (
	maxRules        = 20
	maxExitCodes    = 255
	maxPatterns     = 20
	maxIndexesBytes = 64 * 1024
)

func failurePolicy(f *rule.Faults, s *batchv1.JobSpec, at *field.Path) {
	rules := s.PodFailurePolicy.Rules
	if len(rules) > maxRules {
		f.Add(field.TooMany(at, len(rules), maxRules))
	}
	containers := names(&s.Template)
	for i := range rules {
		failureRule(f, s, &rules[i], containers, at.Index(i))
	}
}

func failureRule(f *rule.Faults, s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, containers map[string]bool, at *field.Path) {
	actions := []batchv1.PodFailurePolicyAction{
		batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore,
	}
	switch {
	case r.Action == "":
		f.Required(at.Child("action"), quoted(actions...))
	case r.Action == batchv1.PodFailurePolicyActionFailIndex:
		if s.BackoffLimitPerIndex == nil {
			f.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
		}
	default:
		rule.OneOf(f, at.Child("action"), r.Action, actions...)
	}
	if r.OnExitCodes != nil {
		exitCodes(f, r.OnExitCodes, containers, at.Child("onExitCodes"))
	}
	conditionPatterns(f, r.OnPodConditions, at.Child("onPodConditions"))
	switch codes, conditions := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; {
	case codes && conditions:
		f.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
	case !codes && !conditions:
		f.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
	}
}

func conditionPatterns(f *rule.Faults, list []batchv1.PodFailurePolicyOnPodConditionsPattern, at *field.Path) {
	if len(list) > maxPatterns {
		f.Add(field.TooMany(at, len(list), maxPatterns))
	}
	for i, p := range list {
		f.QualifiedName(at.Index(i).Child("type"), string(p.Type))
		values := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if p.Status == "" {
			f.Required(at.Index(i).Child("status"), quoted(values...))
		} else {
			rule.OneOf(f, at.Index(i).Child("status"), p.Status, values...)
		}
	}
}

func exitCodes(f *rule.Faults, r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers map[string]bool, at *field.Path) {
	operators := []batchv1.PodFailurePolicyOnExitCodesOperator{batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn}
	if r.Operator == "" {
		f.Required(at.Child("operator"), quoted(operators...))
	} else {
		rule.OneOf(f, at.Child("operator"), r.Operator, operators...)
	}
	if r.ContainerName != nil && !containers[*r.ContainerName] {
		f.Invalid(at.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template")
	}
	values := at.Child("values")
	if len(r.Values) == 0 {
		f.Invalid(values, r.Values, "at least one value is required")
	} else if len(r.Values) > maxExitCodes {
		f.Add(field.TooMany(values, len(r.Values), maxExitCodes))
	}
	seen := rule.Seen[int32]{}
	for i, code := range r.Values {
		if code == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			f.Invalid(values.Index(i), code, "must not be 0 for the In operator")
		}
		if seen.Again(code) {
			f.Duplicate(values.Index(i), code)
		}
	}
	if !slices.IsSorted(r.Values) {
		f.Invalid(values, r.Values, "must be ordered")
	}
}

func successPolicy(f *rule.Faults, s *batchv1.JobSpec, at *field.Path) {
	if s.SuccessPolicy == nil {
		return
	}
	if !isIndexed(s) {
		f.Invalid(at, *s.SuccessPolicy, "requires indexed completion mode")
		return
	}
	rules := s.SuccessPolicy.Rules
	if len(rules) == 0 {
		f.Required(at.Child("rules"), "at least one rules must be specified when the successPolicy is specified")
	}
	if len(rules) > maxRules {
		f.Add(field.TooMany(at.Child("rules"), len(rules), maxRules))
	}
	for i := range rules {
		at := at.Child("rules").Index(i)
		if rules[i].SucceededCount == nil && rules[i].SucceededIndexes == nil {
			f.Required(at, "at least one of succeededCount or succeededIndexes must be specified")
		}
		if s.Completions != nil { // the indexed mode asks for it
			successRule(f, &rules[i], *s.Completions, at)
		}
	}
}

func successRule(f *rule.Faults, r *batchv1.SuccessPolicyRule, completions int32, at *field.Path) {
	var total int32
	if r.SucceededIndexes != nil {
		path := at.Child("succeededIndexes")
		if len(*r.SucceededIndexes) > maxIndexesBytes {
			f.Add(field.TooLong(path, "", maxIndexesBytes))
		}
		n, err := countIndexes(*r.SucceededIndexes, completions)
		if err != nil {
			f.Invalid(path, *r.SucceededIndexes, fmt.Sprintf("error parsing succeededIndexes: %s", err))
		}
		total = n
	}
	if r.SucceededCount == nil {
		return
	}
	path := at.Child("succeededCount")
	f.AtLeastZero(path, int64(*r.SucceededCount))
	if *r.SucceededCount > completions {
		f.Invalid(path, *r.SucceededCount, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
	}
	if r.SucceededIndexes != nil && *r.SucceededCount > total {
		f.Invalid(path, *r.SucceededCount, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))
	}
}

// countIndexes counts the numbers of a list such as "0,2-5,9": rising, below completions, pairs joined.
func countIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	var total int32
	var last *int32
	for _, part := range strings.Split(text, ",") {
		from, to, err := interval(part, completions)
		if err != nil {
			return 0, err
		}
		if last != nil && *last >= from {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", *last, from)
		}
		total += to - from + 1
		last = &to
	}
	return total, nil
}

// interval reads "3" or "3-7".
func interval(text string, completions int32) (from, to int32, err error) {
	first, second, isRange := strings.Cut(text, "-")
	if strings.Count(text, "-") > 1 {
		return 0, 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	if from, err = index(first, completions); err != nil || !isRange {
		return from, from, err
	}
	if to, err = index(second, completions); err != nil {
		return 0, 0, err
	}
	if from >= to {
		return 0, 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", from, to)
	}
	return from, to, nil
}

func index(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}
