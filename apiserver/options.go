package apiserver

import (
	"fmt"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metaoptions "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	internalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"clipper/api/envelope"
	"clipper/apiserver/yamltext"
)

// options reads one kind of options from the query: bad syntax is a 400, bad values are a 422.
func options[T any](q *request, kind string, convert func(*url.Values, *T, conversion.Scope) error, validate func(*T) field.ErrorList) (*T, error) {
	o := new(T)
	values := q.query()
	if values == nil {
		values = url.Values{}
	}
	if len(values) > 0 {
		if err := convert(&values, o, nil); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if faults := validate(o); len(faults) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", faults)
	}
	return o, nil
}

func (q *request) createOptions() (*metav1.CreateOptions, error) {
	return options(q, "CreateOptions", metav1.Convert_url_Values_To_v1_CreateOptions, validation.ValidateCreateOptions)
}

func (q *request) updateOptions() (*metav1.UpdateOptions, error) {
	return options(q, "UpdateOptions", metav1.Convert_url_Values_To_v1_UpdateOptions, validation.ValidateUpdateOptions)
}

func (q *request) patchOptions(pt types.PatchType) (*metav1.PatchOptions, error) {
	return options(q, "PatchOptions", metav1.Convert_url_Values_To_v1_PatchOptions, func(o *metav1.PatchOptions) field.ErrorList {
		return validation.ValidatePatchOptions(o, pt)
	})
}

func (q *request) listOptions() (*metav1.ListOptions, error) {
	watchList := !q.s.options.Features.NoWatchList
	return options(q, "ListOptions", metav1.Convert_url_Values_To_v1_ListOptions, func(o *metav1.ListOptions) field.ErrorList {
		return validateListOptions(o, watchList)
	})
}

// validateListOptions fills in upstream's defaults, then checks.
func validateListOptions(o *metav1.ListOptions, watchList bool) field.ErrorList {
	in := internalversion.ListOptions{
		Watch:                o.Watch,
		AllowWatchBookmarks:  o.AllowWatchBookmarks,
		ResourceVersion:      o.ResourceVersion,
		ResourceVersionMatch: o.ResourceVersionMatch,
		TimeoutSeconds:       o.TimeoutSeconds,
		Limit:                o.Limit,
		Continue:             o.Continue,
		SendInitialEvents:    o.SendInitialEvents,
	}
	internalversion.SetListOptionsDefaults(&in, watchList)
	o.ResourceVersionMatch, o.SendInitialEvents = in.ResourceVersionMatch, in.SendInitialEvents
	return internalvalidation.ValidateListOptions(&in, watchList)
}

// deleteOptions come in the body or, without one, in the query.
func (q *request) deleteOptions() (*metav1.DeleteOptions, error) {
	body, err := q.readBody()
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return options(q, "DeleteOptions", metav1.Convert_url_Values_To_v1_DeleteOptions, validateDeleteOptions)
	}
	o := &metav1.DeleteOptions{}
	if err := q.decodeDeleteOptions(body, o); err != nil {
		return nil, err
	}
	if faults := validateDeleteOptions(o); len(faults) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", faults)
	}
	return o, nil
}

// validateDeleteOptions drops the option of a feature that upstream has switched off, and checks the others.
func validateDeleteOptions(o *metav1.DeleteOptions) field.ErrorList {
	o.IgnoreStoreReadErrorWithClusterBreakingPotential = nil
	return validation.ValidateDeleteOptions(o)
}

// decodeDeleteOptions accepts the kind of meta.k8s.io and that of any group: clients send both.
func (q *request) decodeDeleteOptions(body []byte, o *metav1.DeleteOptions) error {
	f, err := q.inputFormat()
	if err != nil {
		return err
	}
	switch f {
	case formatProtobuf:
		return asBadRequest(openDeleteOptions(body, o))
	case formatCBOR:
		return asBadRequest(openCBORDeleteOptions(body, o))
	}
	if f == formatYAML {
		done, err := yamltext.Turn(q.r.Context(), len(body))
		if err != nil {
			return err
		}
		defer done()
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return asBadRequest(err)
		}
	}
	head, err := serializer.DefaultMetaFactory.Interpret(body)
	if err == nil {
		err = checkDeleteOptions(*head)
	}
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(body, o)
	}
	o.SetGroupVersionKind(schema.GroupVersionKind{})
	return asBadRequest(err)
}

func openDeleteOptions(body []byte, o *metav1.DeleteOptions) error {
	opened, err := envelope.Open(body)
	if err != nil {
		return err
	}
	if err := checkDeleteOptions(schema.FromAPIVersionAndKind(opened.APIVersion, opened.Kind)); err != nil {
		return err
	}
	return o.Unmarshal(opened.Raw)
}

func openCBORDeleteOptions(body []byte, o *metav1.DeleteOptions) error {
	have, _, err := openCBOR(body, o, metav1.SchemeGroupVersion.WithKind("DeleteOptions"), false)
	o.SetGroupVersionKind(schema.GroupVersionKind{})
	if err != nil {
		return err
	}
	return checkDeleteOptions(*have)
}

func checkDeleteOptions(have schema.GroupVersionKind) error {
	if have.Kind != "" && have.Kind != "DeleteOptions" {
		if have.GroupVersion().Empty() {
			have.Group, have.Version = metav1.GroupName, "v1"
		}
		known, err := metaoptions.Scheme.New(have)
		if err != nil {
			return runtime.NewNotRegisteredErrForKind(metaScheme, have)
		}
		return fmt.Errorf("converting (%s) to (v1.DeleteOptions): unknown conversion", strings.TrimPrefix(fmt.Sprintf("%T", known), "*"))
	}
	return nil
}

// metaScheme is how upstream names its table of the kinds of options.
const metaScheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:31"

func asBadRequest(err error) error {
	if err == nil || apierrors.IsBadRequest(err) {
		return err
	}
	return apierrors.NewBadRequest(err.Error())
}
