{% extends "layout.text.t" %}
{% block body %}Hello,

the invoice {{ invoice }} for your plan ({{ plan }}) could not be paid. The plan stays while the payment is tried again. If it fails for good, the account goes on with the free plan, and what is above its limit waits.

What to do next: open the billing page, and look at the card.

    POST {{ public_url }}/billing/portal
{% endblock %}
