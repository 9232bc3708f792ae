package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/google/gnostic-models/compiler"
	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"go.yaml.in/yaml/v3"
)

// The library that makes the protobuf forms reads YAML, one document at a time in a process, and most of its time goes into
// that. Our documents are JSON: they are read as such, into the nodes that it would make of them.

func parseV2(text []byte) (*openapiv2.Document, error) {
	root, context, err := parse(text)
	if err != nil {
		return nil, err
	}
	return openapiv2.NewDocument(root, context)
}

func parseV3(text []byte) (*openapiv3.Document, error) {
	root, context, err := parse(text)
	if err != nil {
		return nil, err
	}
	return openapiv3.NewDocument(root, context)
}

func parse(text []byte) (*yaml.Node, *compiler.Context, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	root, err := readNode(decoder)
	if err != nil {
		return nil, nil, fmt.Errorf("read an OpenAPI document: %w", err)
	}
	return root, compiler.NewContextWithExtensions("$root", root, nil, nil), nil
}

// readNode reads the next value.
func readNode(from *json.Decoder) (*yaml.Node, error) {
	token, err := from.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return readNodes(from, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
		}
		return readNodes(from, &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"})
	case string:
		return scalar("!!str", t), nil
	case json.Number:
		return scalar(numberTag(t.String()), t.String()), nil
	case bool:
		return scalar("!!bool", strconv.FormatBool(t)), nil
	}
	return scalar("!!null", "null"), nil
}

// readNodes reads the rest of a mapping, whose keys are like values, or of a sequence.
func readNodes(from *json.Decoder, into *yaml.Node) (*yaml.Node, error) {
	for from.More() {
		n, err := readNode(from)
		if err != nil {
			return nil, err
		}
		into.Content = append(into.Content, n)
	}
	_, err := from.Token() // the end
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return into, err
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// numberTag is YAML's: what is too large for a number is text.
func numberTag(number string) string {
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		return "!!int"
	}
	if _, err := strconv.ParseUint(number, 10, 64); err == nil {
		return "!!int"
	}
	if _, err := strconv.ParseFloat(number, 64); err == nil {
		return "!!float"
	}
	return "!!str"
}
