package credential

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// UnmarshalJSON reads an entry with its user name and password apart, or both in the field auth.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var raw struct{ Username, Password, Email, Auth string }
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*e = Entry{Username: raw.Username, Password: raw.Password, Email: raw.Email}
	if raw.Auth == "" {
		return nil
	}
	var err error
	e.Username, e.Password, err = decodeAuth(raw.Auth)
	return err
}

// decodeAuth reads base64(user:password), padded or not.
func decodeAuth(auth string) (user, password string, err error) {
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(strings.TrimSpace(auth), "=") {
		encoding = base64.StdEncoding
	}
	plain, err := encoding.DecodeString(auth)
	if err != nil {
		return "", "", err
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return "", "", errors.New("unable to parse auth field, must be formatted as base64(username:password)")
	}
	return user, password, nil
}

// dockerConfig is what docker keeps in config.json. Helpers are programs of whoever wrote the file: kubelets
// do not run them either.
type dockerConfig struct {
	Auths       map[string]Entry  `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

func parseDockerConfig(data []byte) (dockerConfig, error) {
	var c dockerConfig
	err := json.Unmarshal(data, &c)
	return c, err
}

// AddSecrets puts the logins of pull secrets into the keyring. Secrets of other types are passed over; one
// that cannot be read is an error.
func (k *Keyring) AddSecrets(secrets []*corev1.Secret) error {
	for _, s := range secrets {
		entries, err := secretEntries(s)
		if err != nil {
			return err
		}
		if entries != nil {
			k.Add(entries, &Source{UID: string(s.UID), Namespace: s.Namespace, Name: s.Name}, nil)
		}
	}
	return nil
}

func secretEntries(s *corev1.Secret) (map[string]Entry, error) {
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		data := s.Data[corev1.DockerConfigJsonKey]
		if len(data) == 0 {
			return nil, nil
		}
		c, err := parseDockerConfig(data)
		return c.Auths, err
	case corev1.SecretTypeDockercfg:
		data := s.Data[corev1.DockerConfigKey]
		if len(data) == 0 {
			return nil, nil
		}
		var auths map[string]Entry
		err := json.Unmarshal(data, &auths)
		return auths, err
	}
	return nil, nil
}

// nodeEntries reads the first of the files that is there and sound: the logins of every pod of the node. A
// file is read again for every pull, so that a changed password counts at once.
func nodeEntries(files []string) map[string]Entry {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || file == "" {
			continue
		}
		var c dockerConfig
		if err == nil {
			c, err = parseDockerConfig(data)
		}
		if err != nil {
			slog.Warn("The node's registry logins cannot be read", "file", file, "err", scrub(err))
			continue
		}
		if len(c.CredHelpers) > 0 || c.CredsStore != "" {
			slog.Warn("Credential helpers of a docker configuration are not run; use credential provider plug-ins", "file", file)
		}
		return c.Auths
	}
	return nil
}

// scrub keeps what a parser quotes of a file of passwords out of logs.
func scrub(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return fmt.Errorf("it is not a docker configuration in JSON (%T)", err)
}
