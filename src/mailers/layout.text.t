{% block body %}{% endblock %}
-- 
Ampout wrote this to the owner of the account {{ account_id }}.
