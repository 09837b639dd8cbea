{% extends "layout.html.t" %}
{% block title %}A mailbox was disabled{% endblock %}
{% block body %}<h1 style="margin:0 0 16px;font-size:20px">{{ from_email }} no longer sends</h1>
<p>We stopped sending from <strong>{{ from_email }}</strong> for the campaign <strong>{{ campaign }}</strong> on {{ disabled_at }}.</p>
{% if reason == "auth" %}<p>Its mail server no longer accepts the user name and password.</p>
<p>What to do next: set the password anew, and check it.</p>
<p><code>PATCH {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}</code><br>
<code>POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}/verify</code></p>
{% elif reason == "policy" %}<p>Its mail server refuses mail from this sender. That is the provider's decision, about a limit, a suspended mailbox or an address that it may not send from.</p>
<p>What to do next: sign in at the provider, or ask it, and settle what it objects to. The refusal itself is the last reply of the campaign's deliveries.</p>
<p><code>GET {{ public_url }}/campaigns/{{ campaign_id }}/deliveries</code></p>
{% else %}<p>{{ bounce_rate }} % of what it sent in the last seven days bounced; the campaign allows {{ bounce_rate_threshold }} %. Going on would harm the reputation of the address.</p>
<p>What to do next: look where the addresses came from, and remove those that are old or guessed.</p>
<p><code>GET {{ public_url }}/campaigns/{{ campaign_id }}</code></p>
{% endif %}<p>Then let it send again:</p>
<p><code>POST {{ public_url }}/campaigns/{{ campaign_id }}/smtp_credentials/{{ smtp_credential_id }}/reenable</code></p>
<p>{% if last %}The campaign has no other mailbox that may send. Nobody is lost: every contact keeps its place.{% else %}The campaign goes on with its other mailboxes. Contacts that this one has already written to wait for it for a day, and then go on with another.{% endif %}</p>{% endblock %}
