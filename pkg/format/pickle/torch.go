package pickle

import "slices"

// storageSizes are the bytes of an element of PyTorch's storages.
var storageSizes = map[string]int64{
	"DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
	"LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
	"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "UntypedStorage": 1,
}

// persistent is what a persistent id of torch.save stands for: ("storage",
// class, key, device, number of elements, …).
func (m *machine) persistent(id any) any {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil
	}
	class, isGlobal := t[1].(Global)
	key, isText := t[2].(string)
	n, isNumber := t[4].(int64)
	if !isGlobal || !isText || !isNumber || n < 0 {
		return nil
	}
	s := storage{class.Name, key, n}
	m.storages[key] = s
	return s
}

// call is the result of callee(*args), for the few callees that build tensors
// and dictionaries of them.
func (m *machine) call(callee, args any) any {
	g, ok := callee.(Global)
	t, isTuple := args.(tuple)
	if !ok || !isTuple {
		return nil
	}
	switch g {
	case Global{"collections", "OrderedDict"}:
		if len(t) == 0 {
			return &dict{}
		}
	case Global{"torch._utils", "_rebuild_tensor"}, Global{"torch._utils", "_rebuild_tensor_v2"}:
		if len(t) >= 4 {
			return m.tensor(t, nil)
		}
	case Global{"torch._utils", "_rebuild_tensor_v3"}:
		if len(t) >= 7 {
			return m.tensor(t, t[6])
		}
	case Global{"torch._utils", "_rebuild_parameter"}, Global{"torch._utils", "_rebuild_parameter_with_state"}:
		if len(t) > 0 {
			return t[0]
		}
	}
	return nil
}

// tensor builds one of (storage, offset, shape, stride, …).
func (m *machine) tensor(args tuple, dtype any) any {
	s, isStorage := args[0].(storage)
	dims, isTuple := args[2].(tuple)
	if !isStorage || !isTuple || !m.use(len(dims)) {
		return nil
	}
	t := tensor{storage: s, typ: s.typ, shape: make([]int64, len(dims))}
	if g, ok := dtype.(Global); ok {
		t.typ = g.Name
	}
	for i, d := range dims {
		n, ok := d.(int64)
		if !ok {
			return nil
		}
		t.shape[i] = n
	}
	n, ok := product(t.shape)
	// A tensor with more elements than its storage repeats them; its shape
	// is then no number of parameters.
	if !ok || s.typ != "UntypedStorage" && n > s.elements {
		return nil
	}
	return t
}

// checkStorages checks the sizes of storages against those of the members of
// an archive.
func (m *machine) checkStorages(sizes map[string]int64) error {
	for key, s := range m.storages {
		size, ok := sizes[key]
		if !ok {
			return malformedAt(0, "storage %.80q is not in the archive", key)
		}
		if one := storageSizes[s.typ]; one > 0 && (s.elements > size || s.elements*one != size) {
			return malformedAt(0, "storage %.80q has %d bytes for %d elements of %s", key, size, s.elements, s.typ)
		}
	}
	return nil
}

// tensors lists the tensors of what is left on the stack, if it is a dictionary
// of tensors, or has one as "state_dict".
func (m *machine) tensors() []Tensor {
	d, ok := m.top().(*dict)
	if !ok || len(m.stack) != 1 {
		return nil
	}
	if i := slices.Index(d.keys, any("state_dict")); i >= 0 {
		if d, ok = d.values[i].(*dict); !ok {
			return nil
		}
	}
	var all []Tensor
	for i, key := range d.keys {
		name, ok1 := key.(string)
		t, ok2 := d.values[i].(tensor)
		if !ok1 || !ok2 {
			return nil
		}
		all = append(all, Tensor{Name: name, Type: t.typ, Shape: t.shape, Storage: t.storage.key})
	}
	return all
}

// strings returns the list of strings that is left on the stack.
func (m *machine) strings() ([]string, bool) {
	l, ok := m.top().(*list)
	if !ok {
		return nil, false
	}
	all := make([]string, 0, len(l.items))
	for _, item := range l.items {
		s, ok := item.(string)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, true
}
