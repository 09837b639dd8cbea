Your campaign "{{ campaign }}" is paused
