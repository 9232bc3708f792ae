// Package aggregation describes APIService, registers one for every group and version that is served
// here, and keeps a directory of the extension API servers that others name: whether each can be reached,
// what it serves, and how to pass a request on to it.
package aggregation

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/validation"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// APIServices is the kind of registrations.
var APIServices = api.Kind[*apiregistrationv1.APIService]{Resource: api.Resource{
	Group: "apiregistration.k8s.io", Version: "v1", Name: "apiservices", Kind: "APIService",
}}

func init() {
	// The store's codec and the API server know kinds by this scheme; client-go leaves this one out.
	if err := apiregistrationv1.AddToScheme(scheme.Scheme); err != nil {
		panic(err) // the same type registered twice under different names
	}
}

// Definition describes APIService.
func Definition() *catalogue.Resource {
	return &catalogue.Resource{
		Resource:                 APIServices.Resource,
		Singular:                 "apiservice",
		ListKind:                 "APIServiceList",
		Categories:               []string{"api-extensions"},
		Prefix:                   "apiregistration.k8s.io/apiservices",
		New:                      func() api.Object { return &apiregistrationv1.APIService{} },
		NewList:                  func() runtime.Object { return &apiregistrationv1.APIServiceList{} },
		Default:                  func(o api.Object) { apiregistrationv1.SetObjectDefaults_APIService(service(o)) },
		PrepareCreate:            prepareCreate,
		PrepareUpdate:            func(o, old api.Object) { service(o).Status = service(old).Status },
		ValidateName:             path.ValidatePathSegmentName, // "v1." is the core group's
		ValidateCreate:           func(o api.Object) field.ErrorList { return validate(o, nil) },
		ValidateUpdate:           validate,
		Metadata:                 catalogue.NoMetadata,
		MetadataLast:             true,
		AllowUnconditionalUpdate: false,
		Status: &catalogue.Status{
			Prepare:  prepareStatus,
			Validate: validateStatus,
			Metadata: catalogue.NoMetadata,
			NoTable:  true,
		},
		Columns: []metav1.TableColumnDefinition{
			table.Name,
			table.String("Service", "The reference to the service that hosts this API endpoint."),
			table.String("Available", "Whether this service is available."),
			table.Age,
		},
		Row: row,
	}
}

func service(o api.Object) *apiregistrationv1.APIService { return o.(*apiregistrationv1.APIService) }

// prepareCreate makes what is served here available from the first moment.
func prepareCreate(o api.Object) {
	s := service(o)
	s.Status = apiregistrationv1.APIServiceStatus{}
	if s.Spec.Service == nil {
		s.Status, _ = local.apply(s, metav1.Now().Rfc3339Copy())
	}
}

// prepareStatus lets nothing but the status through.
func prepareStatus(o, old api.Object) {
	s, was := service(o), service(old)
	s.Spec = was.Spec
	s.Labels, s.Annotations, s.Finalizers, s.OwnerReferences = was.Labels, was.Annotations, was.Finalizers, was.OwnerReferences
}

func validate(o, old api.Object) field.ErrorList {
	return withInternal(o, func(next *apiregistration.APIService) field.ErrorList {
		if old == nil {
			return validation.ValidateAPIService(next)
		}
		return withInternal(old, func(was *apiregistration.APIService) field.ErrorList {
			return validation.ValidateAPIServiceUpdate(next, was)
		})
	})
}

func validateStatus(o, old api.Object) field.ErrorList {
	return withInternal(o, func(next *apiregistration.APIService) field.ErrorList {
		return withInternal(old, func(was *apiregistration.APIService) field.ErrorList {
			return validation.ValidateAPIServiceStatusUpdate(next, was)
		})
	})
}

// withInternal hands check the registration in the form that upstream's validation reads.
func withInternal(o api.Object, check func(*apiregistration.APIService) field.ErrorList) field.ErrorList {
	in := &apiregistration.APIService{}
	if err := apiregistrationv1.Convert_v1_APIService_To_apiregistration_APIService(service(o).DeepCopy(), in, nil); err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	return check(in)
}

func row(o api.Object, now time.Time) []any {
	s := service(o)
	where := "Local"
	if s.Spec.Service != nil {
		where = s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
	}
	available := "Unknown"
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		available = string(c.Status)
		if c.Status != apiregistrationv1.ConditionTrue {
			available = fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
	}
	return []any{s.Name, where, available, table.Since(s.CreationTimestamp, now)}
}
