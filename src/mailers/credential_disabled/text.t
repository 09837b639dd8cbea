{% extends "layout.text.t" %}
{% block body %}Hello,

we stopped sending from {{ from_email }} for the campaign "{{ campaign }}" on {{ disabled_at }}.

{% if reason == "auth" %}Its mail server no longer accepts the user name and password.

What to do next: set the password anew, and check it.

    PATCH {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}
    POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}/verify
{% elif reason == "policy" %}Its mail server refuses mail from this sender. That is the provider's decision, about a limit, a suspended mailbox or an address that it may not send from.

What to do next: sign in at the provider, or ask it, and settle what it objects to. The refusal itself is the last reply of the campaign's deliveries.

    GET {{ public_url }}/campaigns/{{ campaign_id }}/deliveries
{% else %}{{ bounce_rate }} % of what it sent in the last seven days bounced; the campaign allows {{ bounce_rate_threshold }} %. Going on would harm the reputation of the address.

What to do next: look where the addresses came from, and remove those that are old or guessed.

    GET {{ public_url }}/campaigns/{{ campaign_id }}
{% endif %}
Then let it send again:

    POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}/reenable

{% if last %}The campaign has no other mailbox that may send. Nobody is lost: every contact keeps its place.{% else %}The campaign goes on with its other mailboxes. Contacts that this one has already written to wait for it for a day, and then go on with another.{% endif %}
{% endblock %}
