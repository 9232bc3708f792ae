package apiserver

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"
	kjson "sigs.k8s.io/json"

	"clipper/api/envelope"
	"clipper/apiserver/extremes"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/yamltext"
)

// maxBody bounds a request's body. Upstream's figure.
const maxBody = 3 << 20

// believed is how much room is made for a body on its mere announcement: whoever says three megabytes and
// sends none must not hold three.
const believed = 64 << 10

// readBody reads the whole body, if it is not too large.
func (q *request) readBody() ([]byte, error) {
	defer q.r.Body.Close()
	n := q.r.ContentLength
	if n > maxBody {
		return nil, tooLargeBody()
	}
	if 0 <= n && n <= believed {
		body := make([]byte, n)
		_, err := io.ReadFull(q.r.Body, body)
		q.bodyRead(body)
		q.traffic.received, q.traffic.read = len(body), err == nil
		return body, bodyError(err)
	}
	var body bytes.Buffer
	body.Grow(believed)
	_, err := body.ReadFrom(io.LimitReader(q.r.Body, maxBody+1))
	if err == nil && body.Len() > maxBody {
		err = tooLargeBody()
	}
	q.bodyRead(body.Bytes())
	q.traffic.received, q.traffic.read = body.Len(), err == nil
	return body.Bytes(), bodyError(err)
}

func tooLargeBody() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}

// bodyError is the client's fault, unless it is an API error already.
func bodyError(err error) error {
	if err == nil {
		return nil
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return apierrors.NewBadRequest("reading the request body: " + err.Error())
}

// inputFormat says how the body is encoded.
func (q *request) inputFormat() (format, error) {
	switch t := q.r.Header.Get("Content-Type"); t {
	case "", typeJSON:
		return formatJSON, nil
	case typeProtobuf:
		return formatProtobuf, nil
	default:
		t, _, err := mime.ParseMediaType(t)
		for f, known := range q.mediaTypes().objects {
			if err == nil && t == known {
				return format(f), nil
			}
		}
	}
	return 0, unsupportedMediaType(q.mediaTypes().objects...)
}

// decode reads body into an object that should be of kind want, reporting unknown fields as validation
// (Ignore, Warn, Strict) says.
func (q *request) decode(f format, body []byte, into runtime.Object, want schema.GroupVersionKind, validation string) error {
	if f == formatYAML {
		done, err := yamltext.Turn(q.r.Context(), len(body))
		if err != nil {
			return err
		}
		defer done()
	}
	if u, ok := into.(*unstructured.Unstructured); ok {
		return q.decodeCustom(f, body, u, want, validation)
	}
	if err := checkAmounts(f, body, into); err != nil {
		return cannotHandle(want, want, err)
	}
	switch f {
	case formatProtobuf:
		return decodeProtobuf(body, into, want)
	case formatCBOR:
		return q.decodeCBOR(body, into, want, validation)
	}
	return q.decodeText(f, body, into, want, validation)
}

func decodeProtobuf(body []byte, into runtime.Object, want schema.GroupVersionKind) error {
	opened, err := envelope.Open(body)
	if err != nil {
		return unrecognized(body, want, err)
	}
	have, err := kindWithDefaults(opened.APIVersion, opened.Kind, want)
	if err != nil {
		return unrecognized(body, want, err)
	}
	if err := checkKind(have, want); err != nil {
		return err
	}
	message, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): no protobuf form", want.Kind))
	}
	if extremes.TooDeep(opened.Raw) {
		return cannotHandle(have, want, errTooDeep)
	}
	if err := message.Unmarshal(opened.Raw); err != nil {
		return cannotHandle(have, want, err)
	}
	if err := checkEmbedded(into); err != nil {
		return cannotHandle(have, want, err)
	}
	return nil
}

func (q *request) decodeText(f format, body []byte, into runtime.Object, want schema.GroupVersionKind, validation string) error {
	text, unknown, err := plainText(f, body)
	if err != nil {
		return unrecognized(body, want, err)
	}
	if validation == metav1.FieldValidationIgnore {
		unknown, err = nil, kjson.UnmarshalCaseSensitivePreserveInts(text, into)
	} else {
		var more []error
		more, err = kjson.UnmarshalStrict(text, into)
		unknown = append(unknown, more...)
	}
	have, kindErr := kindOf(text, into, err == nil && validation != metav1.FieldValidationIgnore && !slices.ContainsFunc(unknown, isKindInOtherCase), want)
	switch {
	case kindErr != nil:
		return unrecognized(body, want, kindErr)
	case err != nil && have != want:
		return checkKind(have, want)
	case err != nil:
		return cannotHandle(have, want, err)
	}
	if err := checkKind(have, want); err != nil {
		return err
	}
	return q.reportUnknown(unknown, have, want, validation)
}

// plainText is body as JSON, and what it said twice where that can be told from YAML alone.
func plainText(f format, body []byte) (text []byte, duplicates []error, err error) {
	if f != formatYAML {
		return body, nil, nil
	}
	text, twice, err := yamltext.ToJSON(body)
	if twice != nil {
		duplicates = []error{twice}
	}
	return text, duplicates, err
}

// isKindInOtherCase says whether a field is unknown only because of its upper and lower case letters. Upstream reads the
// kind apart from all else, and there they do not matter.
func isKindInOtherCase(unknown error) bool {
	text := unknown.Error()
	return strings.EqualFold(text, `unknown field "kind"`) || strings.EqualFold(text, `unknown field "apiVersion"`)
}

// kindOf returns the kind that the text gives itself. into has it if it is known to: not if decoding failed on the way.
func kindOf(text []byte, into runtime.Object, known bool, want schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	if known {
		if t, ok := into.GetObjectKind().(*metav1.TypeMeta); ok { // as it was written: what is no version must be seen
			return kindWithDefaults(t.APIVersion, t.Kind, want)
		}
		version, kind := into.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
		return kindWithDefaults(version, kind, want)
	}
	head, err := serializer.DefaultMetaFactory.Interpret(text)
	if err != nil {
		return want, err
	}
	return kindWithDefaults(head.GroupVersion().String(), head.Kind, want)
}

func kindWithDefaults(apiVersion, kind string, want schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return want, err
	}
	have := gv.WithKind(kind)
	if have.Kind == "" {
		have.Kind = want.Kind
	}
	if gv.Empty() {
		have.Group, have.Version = want.Group, want.Version
	}
	return have, nil
}

// oldEviction is one of two versions that pods/eviction takes; they look the same.
var oldEviction = schema.GroupVersionKind{Group: "policy", Version: "v1beta1", Kind: "Eviction"}

// checkKind refuses an object of another kind than the path is about, in upstream's different words.
func checkKind(have, want schema.GroupVersionKind) error {
	switch {
	case have == want, have == oldEviction && want.Kind == have.Kind:
		return nil
	case have.Kind == want.Kind && scheme.Scheme.Recognizes(have):
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	return cannotHandle(have, want, pipeline.NoSuchKind(have, want))
}

func cannotHandle(have, want schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
}

// unrecognized refuses a body whose kind cannot even be told; it shows how the body begins.
func unrecognized(body []byte, want schema.GroupVersionKind, err error) error {
	const shown = 30
	var start string
	switch {
	case len(body) == 0:
		start = "<empty>"
	case body[0] == '{':
		start = string(body[:min(shown, len(body))])
	default:
		start = hex.EncodeToString(body[:min(shown, len(body))])
	}
	if len(body) > shown {
		start += " ..."
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, start))
}

func (q *request) reportUnknown(unknown []error, have, want schema.GroupVersionKind, validation string) error {
	switch {
	case len(unknown) == 0:
		return nil
	case validation == metav1.FieldValidationStrict:
		return cannotHandle(have, want, runtime.NewStrictDecodingError(unknown))
	}
	for _, err := range unknown {
		for _, text := range pipeline.YAMLWarnings(err.Error()) {
			q.warn(text)
		}
	}
	return nil
}

// decodeCustom reads a custom resource: its schema says which fields there are.
func (q *request) decodeCustom(f format, body []byte, into *unstructured.Unstructured, want schema.GroupVersionKind, validation string) error {
	content, unknown, err := q.customContent(f, body, want)
	if err != nil {
		return err
	}
	into.Object = content
	head := into.GroupVersionKind()
	if err := checkCustomKind(head, want, into.GetName()); err != nil {
		return err
	}
	paths, err := q.kind.Prune(into)
	if err != nil {
		return cannotHandle(head, want, err)
	}
	if validation == metav1.FieldValidationIgnore {
		return nil
	}
	for _, path := range paths {
		unknown = append(unknown, fmt.Errorf("unknown field %q", path))
	}
	return q.reportUnknown(unknown, head, want, validation)
}

// customContent reads a custom resource as it was written, and tells what is written twice.
func (q *request) customContent(f format, body []byte, want schema.GroupVersionKind) (content map[string]any, duplicates []error, err error) {
	switch f {
	case formatProtobuf:
		return nil, nil, unsupportedMediaType(q.mediaTypes().customs...)
	case formatCBOR:
		content, err = decodeCustomCBOR(body, want)
		return content, nil, err
	}
	text, duplicates, err := plainText(f, body)
	if err != nil {
		return nil, nil, unrecognized(body, want, err)
	}
	head, err := serializer.DefaultMetaFactory.Interpret(text)
	if err != nil {
		return nil, nil, unrecognized(body, want, err)
	}
	content = map[string]any{}
	more, err := kjson.UnmarshalStrict(text, &content)
	if err != nil {
		return nil, nil, unrecognized(body, want, err)
	}
	if head.Kind == "" {
		return nil, nil, unrecognized(body, want, runtime.NewMissingKindErr(string(text)))
	}
	return content, append(duplicates, more...), nil
}

// checkCustomKind refuses a custom resource of another version or kind than the path is about.
func checkCustomKind(have, want schema.GroupVersionKind, name string) error {
	if have.GroupVersion() != want.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	if have.Kind != want.Kind {
		return apierrors.NewInvalid(have.GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("kind"), have.Kind, "must be "+want.Kind),
		})
	}
	return nil
}
