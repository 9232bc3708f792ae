package batch

import (
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
)

// jobs describes Job.
func jobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.Job, batchv1.JobList](catalogue.Kind[*batchv1.Job]{
		Resource:    api.Jobs.Resource,
		Categories:  []string{"all"},
		Spec:        catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Status:      catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobStatus { return &o.Status }),
		Generation:  catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Propagation: metav1.DeletePropagationOrphan,
		Fields: map[string]func(*batchv1.Job) string{
			"status.successful": func(o *batchv1.Job) string { return strconv.Itoa(int(o.Status.Succeeded)) },
		},
	})
}
