{% extends "layout.text.t" %}
{% block body %}Hello,

the campaign "{{ campaign }}" was paused on {{ paused_at }}, because none of its mailboxes may send any more. Nobody is lost: every contact keeps its place, and nothing goes out until you resume it.

What to do next:

1. See which mailboxes are disabled, and why:
    GET {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials
2. Enable one again, or add another:
    POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/<id>/reenable
    POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials
3. Let the campaign go on:
    POST {{ public_url }}/campaigns/{{ campaign_id }}/resume
{% endblock %}
