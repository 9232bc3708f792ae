package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// indexSet is a sorted list of completion indexes, in the status written "0,2-5".
type indexSet []int

// parseIndexes reads what status says, ignoring what is not below completions: the job may have shrunk.
func parseIndexes(text string, completions int) indexSet {
	var out indexSet
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(last)
		}
		if err != nil {
			continue
		}
		for i := a; i <= b && i < completions; i++ {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// with returns s with more indexes.
func (s indexSet) with(more []int) indexSet {
	out := append(slices.Clone(s), more...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (s indexSet) has(i int) bool {
	_, ok := slices.BinarySearch(s, i)
	return ok
}

// String writes runs of three and more as ranges, pairs with a comma, as upstream does.
func (s indexSet) String() string {
	var out []string
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		switch j - i {
		case 0:
			out = append(out, strconv.Itoa(s[i]))
		case 1:
			out = append(out, strconv.Itoa(s[i]), strconv.Itoa(s[j]))
		default:
			out = append(out, fmt.Sprintf("%d-%d", s[i], s[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

func indexed(j *batchv1.Job) bool {
	return j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion
}

// indexOf returns a pod's completion index; -1 for none.
func indexOf(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return n
}

// failureCount returns how often p's index had failed before p was made.
func failureCount(p *corev1.Pod) int {
	n, _ := strconv.Atoi(p.Annotations[batchv1.JobIndexFailureCountAnnotation])
	return n
}
