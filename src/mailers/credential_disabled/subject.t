{{ from_email }} no longer sends for "{{ campaign }}"
