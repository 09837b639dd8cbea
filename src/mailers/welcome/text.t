{% extends "layout.text.t" %}
{% block body %}Hello,

your Ampout account is ready. It is on the free plan; GET {{ public_url }}/plans shows what each plan allows.

Your API key was in the answer to the signup, and nowhere else. Keep it somewhere safe; we cannot show it again.

What to do next:

1. Import a few contacts: POST {{ public_url }}/contact_imports
2. Make a campaign with a mailbox to send from: POST {{ public_url }}/campaigns
3. Send yourself a test: POST {{ public_url }}/campaigns/<id>/test_send
4. Enroll the contacts and dispatch the campaign.

Every call is described at {{ public_url }}/docs

Did you not sign up? Then somebody typed your address by mistake. There is nothing that you need to do.
{% endblock %}
