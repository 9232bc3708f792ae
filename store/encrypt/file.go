package encrypt

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"
)

// A File is an EncryptionConfiguration on disk.
type File struct {
	Path   string
	Config apiserverv1.EncryptionConfiguration
}

// Ensure makes a file with a new key for secrets if there is none. legacy is the file of the one key of earlier
// versions of this program, which is taken over; dataThere says that something may have been encrypted already, so that
// a new key would be the wrong one.
func Ensure(path, legacy string, dataThere bool) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	providers := []apiserverv1.ProviderConfiguration{}
	old, err := legacyKey(legacy)
	switch {
	case err == nil:
		providers = append(providers, apiserverv1.ProviderConfiguration{AESGCM: &apiserverv1.AESConfiguration{Keys: []apiserverv1.Key{old}}})
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case dataThere:
		return fmt.Errorf("encryption configuration %s is missing, and there is data that may need its keys; restore it from a backup", path)
	default:
		providers = append(providers, apiserverv1.ProviderConfiguration{Secretbox: &apiserverv1.SecretboxConfiguration{Keys: []apiserverv1.Key{newKey(time.Now())}}})
	}
	f := &File{Path: path, Config: apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: apiserverv1.SchemeGroupVersion.String(), Kind: "EncryptionConfiguration"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: []string{"secrets"},
			Providers: append(providers, apiserverv1.ProviderConfiguration{Identity: &apiserverv1.IdentityConfiguration{}}),
		}},
	}}
	return f.Write()
}

// legacyKey reads a file of 64 hexadecimal digits, whose key was always named clipper.
func legacyKey(path string) (apiserverv1.Key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return apiserverv1.Key{}, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize {
		return apiserverv1.Key{}, fmt.Errorf("read encryption key %s: not 64 hexadecimal digits; restore it from a backup", path)
	}
	return apiserverv1.Key{Name: "clipper", Secret: base64.StdEncoding.EncodeToString(key)}, nil
}

const keySize = 32

// newKey makes a key named after the time, so that names tell the order of keys.
func newKey(now time.Time) apiserverv1.Key {
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	return apiserverv1.Key{Name: "key-" + now.UTC().Format("20060102t150405"), Secret: base64.StdEncoding.EncodeToString(key)}
}

// ReadFile reads a configuration to change it.
func ReadFile(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read encryption configuration: %w", err)
	}
	return parse(path, text)
}

func parse(path string, text []byte) (*File, error) {
	f := &File{Path: path}
	if err := yaml.UnmarshalStrict(text, &f.Config); err != nil {
		return nil, fmt.Errorf("read encryption configuration %s: %w", path, err)
	}
	return f, nil
}

// Write replaces the file, whole and durable, before anything is encrypted by it.
func (f *File) Write() error {
	text, err := yaml.Marshal(&f.Config)
	if err == nil {
		err = replaceFile(f.Path, text)
	}
	if err != nil {
		return fmt.Errorf("write encryption configuration %s: %w", f.Path, err)
	}
	return nil
}

func replaceFile(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".encryption-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
