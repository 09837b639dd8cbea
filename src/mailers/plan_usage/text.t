{% extends "layout.text.t" %}
{% block body %}Hello,

{% if percent >= 100 %}your account has sent the {{ limit }} messages that its plan ({{ plan }}) allows in this period. What is due waits; nothing is lost. It goes on by itself on {{ period_end }}, or at once on a larger plan.
{% else %}your account has sent {{ sends }} of the {{ limit }} messages that its plan ({{ plan }}) allows until {{ period_end }}. When all are used, what is due waits for the next period, or for a larger plan.
{% endif %}
Plans and what they allow, and how to take one:

    GET {{ public_url }}/plans
    POST {{ public_url }}/billing/checkout
{% endblock %}
