package modeltest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	jsonT      = "application/json"
	applyT     = "application/apply-patch+yaml"
	mergeT     = "application/merge-patch+json"
	jpatchT    = "application/json-patch+json"
	strategicT = "application/strategic-merge-patch+json"
)

// A format is one way to write what the test knows as JSON.
type format struct {
	mediaType string
	encode    func(text []byte) ([]byte, error)
	decode    func(data []byte) ([]byte, error)
	framer    runtime.Framer // of a watch; nil if there is none
}

var (
	asJSON     = format{jsonT, same, same, jsonserializer.Framer}
	asYAML     = format{"application/yaml", yaml.JSONToYAML, func(data []byte) ([]byte, error) { return yaml.YAMLToJSON(data) }, nil}
	asCBOR     = format{"application/cbor", encodeCBOR, decodeCBOR, cbor.NewFramer()}
	asProtobuf = format{"application/vnd.kubernetes.protobuf", encodeProtobuf, decodeProtobuf, protobuf.LengthDelimitedFramer}
)

// formatsOf returns the formats of a kind. Custom resources are not written as protobuf.
func formatsOf(custom bool) []format {
	if custom {
		return []format{asJSON, asJSON, asYAML, asCBOR}
	}
	return []format{asJSON, asJSON, asYAML, asCBOR, asProtobuf, asProtobuf}
}

func same(text []byte) ([]byte, error) { return text, nil }

func encodeCBOR(text []byte) ([]byte, error) {
	v, err := decodeJSON(text)
	if err != nil {
		return nil, err
	}
	return direct.Marshal(withIntegers(v))
}

// withIntegers makes integers of numbers.
func withIntegers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = withIntegers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = withIntegers(v[i])
		}
	case json.Number:
		return number(v)
	}
	return v
}

func decodeCBOR(data []byte) ([]byte, error) {
	var v any
	if err := direct.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// modelScheme has all kinds that are written as protobuf.
var modelScheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}()

var protobufCodec = protobuf.NewSerializer(modelScheme, modelScheme)

func encodeProtobuf(text []byte) ([]byte, error) {
	obj, _, err := serializer.NewCodecFactory(modelScheme).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	return runtime.Encode(protobufCodec, obj)
}

func decodeProtobuf(data []byte) ([]byte, error) {
	obj, _, err := protobufCodec.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(obj)
}

// decodeJSON keeps numbers as they are written.
func decodeJSON(text []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var out map[string]any
	return out, decoder.Decode(&out)
}

// event is one event of a watch in any format, as JSON.
func (f format) event(frame []byte) ([]byte, error) {
	if f.mediaType != asProtobuf.mediaType {
		return f.decode(frame)
	}
	var e metav1.WatchEvent
	if err := e.Unmarshal(frame); err != nil {
		return nil, err
	}
	var err error
	if e.Object.Raw, err = decodeProtobuf(e.Object.Raw); err != nil {
		return nil, err
	}
	return json.Marshal(e)
}

// readEvents calls f with each event of a watch, until it ends.
func readEvents(body io.ReadCloser, in format, f func(kind string, object map[string]any)) error {
	frames := in.framer.NewFrameReader(body)
	for buffer := make([]byte, 1<<18); ; { // more than any event
		n, err := frames.Read(buffer)
		if err != nil {
			return err
		}
		text, err := in.event(buffer[:n])
		if err != nil {
			return err
		}
		e, err := decodeJSON(text)
		if err != nil {
			return err
		}
		object, _ := e["object"].(map[string]any)
		f(fmt.Sprint(e["type"]), object)
	}
}
