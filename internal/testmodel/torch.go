package testmodel

import (
	"encoding/binary"
	"strconv"
	"testing"
)

// TorchFile returns a PyTorch archive: a state dict of float32 tensors, one
// storage for each. The tensors' DType is not looked at.
func TorchFile(tensors ...Tensor) []byte {
	members := []Member{{Name: "tiny/data.pkl", Data: statePickle(tensors)}}
	for i, t := range tensors {
		members = append(members, Member{Name: "tiny/data/" + strconv.Itoa(i), Data: t.Data})
	}
	members = append(members,
		Member{Name: "tiny/version", Data: []byte("3\n")},
		Member{Name: "tiny/byteorder", Data: []byte("little")})
	return ZipFile(members...)
}

// TorchZip writes pytorch_model.bin, a PyTorch archive, with its config.json.
func TorchZip(t testing.TB, dir string) {
	t.Helper()
	write(t, dir, "config.json", []byte(Config))
	write(t, dir, "pytorch_model.bin", TorchFile(
		Tensor{Name: "w", Shape: []int64{2, 2}, Data: pattern(16)},
		Tensor{Name: "b", Shape: []int64{2}, Data: pattern(8)}))
}

// statePickle is what torch.save writes for a dict of tensors, in protocol 2:
// each value is torch._utils._rebuild_tensor_v2 of a persistent storage.
func statePickle(tensors []Tensor) []byte {
	b := []byte("\x80\x02}(")
	for i, t := range tensors {
		b = text(b, t.Name)
		b = append(b, "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"...)
		b = text(b, strconv.Itoa(i))
		b = text(b, "cpu")
		b = number(b, len(t.Data)/4)
		b = append(b, "tQK\x00"...)
		b = tuple(b, t.Shape)
		b = tuple(b, strides(t.Shape))
		b = append(b, "\x89ccollections\nOrderedDict\n)RtR"...)
	}
	return append(b, "u."...)
}

func text(b []byte, s string) []byte {
	b = append(b, 'X')
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func number(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint32(append(b, 'J'), uint32(n))
}

func tuple(b []byte, values []int64) []byte {
	b = append(b, '(')
	for _, v := range values {
		b = number(b, int(v))
	}
	return append(b, 't')
}

func strides(shape []int64) []int64 {
	s := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}
